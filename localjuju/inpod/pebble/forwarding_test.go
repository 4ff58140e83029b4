package pebble

import (
	"maps"
	"testing"
)

func TestTheLastWordOnAServiceCounts(t *testing.T) {
	for _, each := range []struct {
		services []string
		takes    bool
	}{
		{[]string{"all"}, true},
		{[]string{"all", "-web"}, false},
		{[]string{"-all", "web"}, true},
		{nil, false},
	} {
		if logsTo(&targetConfig{Services: each.services}, "web") != each.takes {
			t.Errorf("%v: not %v", each.services, each.takes)
		}
	}
}

func TestALabelHoldsTheServicesVariables(t *testing.T) {
	config := &targetConfig{Labels: map[string]string{"a": "$A$B"}}
	found := targetLabels(config, "web", map[string]string{"A": "1"})
	if !maps.Equal(found, map[string]string{"a": "1", "pebble_service": "web"}) {
		t.Error(found)
	}
}
