#!/bin/sh
# The operator under tini, which reaps what spark-submit leaves behind.
exec /usr/bin/tini -s -- /usr/bin/spark-operator "$@"
