package pebble

import (
	"time"

	"gopkg.in/yaml.v3"
)

// duration is a length of time in a plan, which is written as Go prints it.
type duration time.Duration

func (d *duration) UnmarshalYAML(node *yaml.Node) error {
	value, err := parseDuration(node.Value)
	*d = duration(value)
	return err
}

func (d duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }

// or gives the default where the plan says nothing.
func (d *duration) or(usual time.Duration) time.Duration {
	if d == nil {
		return usual
	}
	return time.Duration(*d)
}

// parseDuration takes nothing for none.
func parseDuration(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	return time.ParseDuration(text)
}

// stamp writes a time in RFC 3339 with microseconds always: Python's clients know no finer.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }
