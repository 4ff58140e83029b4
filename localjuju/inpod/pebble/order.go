package pebble

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

func sortedKeys[K cmp.Ordered, V any](of map[K]V) []K { return slices.Sorted(maps.Keys(of)) }

// startOrder gives the services with all that they require, in the order of starting. It fails
// when a name is unknown, or the order goes round in a circle.
func startOrder(services map[string]*serviceConfig, names []string) ([]string, error) {
	before := map[string]map[string]bool{} // a service and those that come before it
	for pending := slices.Clone(names); len(pending) > 0; pending = pending[1:] {
		name := pending[0]
		if services[name] == nil {
			return nil, refused("service %q does not exist", name)
		}
		if before[name] == nil {
			before[name] = map[string]bool{}
			pending = append(pending, services[name].Requires...)
		}
	}
	for name := range before {
		for _, earlier := range services[name].After {
			if before[earlier] != nil {
				before[name][earlier] = true
			}
		}
		for _, later := range services[name].Before {
			if before[later] != nil {
				before[later][name] = true
			}
		}
	}
	var ordered []string
	for len(before) > 0 {
		var free []string
		for _, name := range sortedKeys(before) {
			if len(before[name]) == 0 {
				free = append(free, name)
			}
		}
		if free == nil {
			return nil, refused(
				"services in before/after loop: %s", strings.Join(sortedKeys(before), ", "))
		}
		for _, name := range free {
			delete(before, name)
			for _, earlier := range before {
				delete(earlier, name)
			}
		}
		ordered = append(ordered, free...)
	}
	return ordered, nil
}
