package pebble

import (
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Rules: docs/reference/layer-specification.md of canonical/pebble. An entry with
// `override: replace` takes the place of the lower one; with `merge`, scalars replace, lists
// append, maps merge by key.

// content is what a layer says, and what layers combine to.
type content struct {
	Summary     string                    `yaml:"summary,omitempty"`
	Description string                    `yaml:"description,omitempty"`
	Services    map[string]*serviceConfig `yaml:"services,omitempty"`
	Checks      map[string]*checkConfig   `yaml:"checks,omitempty"`
	Targets     map[string]*targetConfig  `yaml:"log-targets,omitempty"`
}

// runAs is who runs a program and where.
type runAs struct {
	UserID     *int   `yaml:"user-id,omitempty"`
	User       string `yaml:"user,omitempty"`
	GroupID    *int   `yaml:"group-id,omitempty"`
	Group      string `yaml:"group,omitempty"`
	WorkingDir string `yaml:"working-dir,omitempty"`
}

type serviceConfig struct {
	Summary        string            `yaml:"summary,omitempty"`
	Description    string            `yaml:"description,omitempty"`
	Startup        string            `yaml:"startup,omitempty"`
	Override       string            `yaml:"override,omitempty"`
	Command        string            `yaml:"command,omitempty"`
	After          []string          `yaml:"after,omitempty"`
	Before         []string          `yaml:"before,omitempty"`
	Requires       []string          `yaml:"requires,omitempty"`
	Environment    map[string]string `yaml:"environment,omitempty"`
	runAs          `yaml:",inline"`
	OnSuccess      string            `yaml:"on-success,omitempty"`
	OnFailure      string            `yaml:"on-failure,omitempty"`
	OnCheckFailure map[string]string `yaml:"on-check-failure,omitempty"`
	BackoffDelay   *duration         `yaml:"backoff-delay,omitempty"`
	BackoffFactor  *float64          `yaml:"backoff-factor,omitempty"`
	BackoffLimit   *duration         `yaml:"backoff-limit,omitempty"`
	KillDelay      *duration         `yaml:"kill-delay,omitempty"`
}

type checkConfig struct {
	Override  string     `yaml:"override,omitempty"`
	Level     string     `yaml:"level,omitempty"`
	Startup   string     `yaml:"startup,omitempty"`
	Period    *duration  `yaml:"period,omitempty"`
	Timeout   *duration  `yaml:"timeout,omitempty"`
	Threshold *int       `yaml:"threshold,omitempty"`
	HTTP      *httpCheck `yaml:"http,omitempty"`
	TCP       *tcpCheck  `yaml:"tcp,omitempty"`
	Exec      *execCheck `yaml:"exec,omitempty"`
}

type httpCheck struct {
	URL     string            `yaml:"url,omitempty"`
	Headers map[string]string `yaml:"headers,omitempty"`
}

type tcpCheck struct {
	Port int    `yaml:"port,omitempty"`
	Host string `yaml:"host,omitempty"`
}

type execCheck struct {
	Command        string            `yaml:"command,omitempty"`
	ServiceContext string            `yaml:"service-context,omitempty"`
	Environment    map[string]string `yaml:"environment,omitempty"`
	runAs          `yaml:",inline"`
}

type targetConfig struct {
	Type     string            `yaml:"type,omitempty"`
	Location string            `yaml:"location,omitempty"`
	Services []string          `yaml:"services,omitempty"`
	Override string            `yaml:"override,omitempty"`
	Labels   map[string]string `yaml:"labels,omitempty"`
}

// layer is one of those that make the plan: order decides what is on top.
type layer struct {
	order   int
	label   string
	content content
}

var (
	sections = map[string]reflect.Type{
		"services":    reflect.TypeFor[serviceConfig](),
		"checks":      reflect.TypeFor[checkConfig](),
		"log-targets": reflect.TypeFor[targetConfig](),
	}
	exitActions = []string{"restart", "shutdown", "success-shutdown", "failure-shutdown", "ignore"}
)

// parseLayer reads and checks a layer; the error names what is wrong.
func parseLayer(text, label string) (content, error) {
	var found content
	var whole yaml.Node
	if err := yaml.Unmarshal([]byte(text), &whole); err != nil {
		return found, refused("cannot parse layer YAML: %s", oneLine(err))
	}
	if len(whole.Content) == 0 || whole.Content[0].Tag == "!!null" {
		return found, nil
	}
	root := whole.Content[0]
	if root.Kind != yaml.MappingNode {
		return found, refused("cannot parse layer %q: not a map", label)
	}
	for key, value := range pairs(root) {
		kind, known := sections[key]
		if !known {
			if key == "summary" || key == "description" {
				continue
			}
			return found, refused("cannot parse layer %q: unknown section %q", label, key)
		}
		for name, each := range pairs(value) {
			if err := checkEntry(label, strings.TrimSuffix(key, "s"), name, each, kind); err != nil {
				return found, err
			}
		}
	}
	if err := root.Decode(&found); err != nil {
		return found, refused("cannot parse layer %q: %s", label, oneLine(err))
	}
	return found, nil
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// pairs are a map's keys and values in the order that they are written.
func pairs(node *yaml.Node) func(func(string, *yaml.Node) bool) {
	return func(yield func(string, *yaml.Node) bool) {
		if node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		if node.Kind != yaml.MappingNode {
			return
		}
		for at := 0; at+1 < len(node.Content); at += 2 {
			if !yield(node.Content[at].Value, node.Content[at+1]) {
				return
			}
		}
	}
}

// checkEntry checks what can be told before the layers are combined.
func checkEntry(label, kind, name string, entry *yaml.Node, fields reflect.Type) error {
	for entry.Kind == yaml.AliasNode {
		entry = entry.Alias
	}
	if entry.Kind != yaml.MappingNode {
		return refused("%s object cannot be null for %s %q", kind, kind, name)
	}
	given := map[string]string{}
	for key, value := range pairs(entry) {
		given[key] = value.Value
		field, known := fieldOf(fields, key)
		if key != "<<" && !known && kind != "log-target" {
			return refused("cannot parse layer %q: %s %q: unknown key %q", label, kind, name, key)
		}
		if known && field == reflect.TypeFor[*duration]() {
			if _, err := parseDuration(value.Value); err != nil {
				return refused("plan %s %q: %s: %v", kind, name, key, err)
			}
		}
		action := (key == "on-success" || key == "on-failure") && kind == "service"
		if action && !slices.Contains(exitActions, value.Value) {
			return refused("plan %s %q %s action %q invalid", kind, name, key, value.Value)
		}
		if kind == "log-target" && key == "labels" {
			for mark := range pairs(value) {
				if strings.HasPrefix(mark, "pebble_") {
					return refused("log target %q: label %q uses reserved prefix \"pebble_\"", name, mark)
				}
			}
		}
	}
	switch given["override"] {
	case "merge", "replace":
	case "":
		return refused("layer %q must define \"override\" for %s %q", label, kind, name)
	default:
		return refused("layer %q has invalid \"override\" value for %s %q", label, kind, name)
	}
	target := given["type"]
	if kind == "log-target" && target != "" && target != "loki" && target != "opentelemetry" {
		return refused(
			"log target %q has unsupported type %q, must be \"loki\" or \"opentelemetry\"",
			name, target)
	}
	return nil
}

// fieldOf gives the type of the field that a key is for.
func fieldOf(fields reflect.Type, key string) (reflect.Type, bool) {
	for _, field := range reflect.VisibleFields(fields) {
		tag, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if tag == key && tag != "" {
			return field.Type, true
		}
	}
	return nil, false
}

// combine lays the layers' content over each other, lowest first. It fails when the plan is not
// complete, as with a service without a command.
func combine(layers []layer) (content, error) {
	var plan content
	sorted := slices.Clone(layers)
	slices.SortStableFunc(sorted, func(a, b layer) int { return a.order - b.order })
	for _, each := range sorted {
		plan.layOver(each.content)
	}
	for _, name := range sortedKeys(plan.Services) {
		if plan.Services[name].Command == "" {
			return plan, refused("plan must define \"command\" for service %q", name)
		}
	}
	for _, name := range sortedKeys(plan.Checks) {
		check, kinds := plan.Checks[name], 0
		for _, given := range []bool{check.HTTP != nil, check.TCP != nil, check.Exec != nil} {
			if given {
				kinds++
			}
		}
		if kinds != 1 {
			return plan, refused(
				"plan must specify one of \"http\", \"tcp\", or \"exec\" for check %q", name)
		}
	}
	for _, name := range sortedKeys(plan.Targets) {
		target := plan.Targets[name]
		if target.Type == "" {
			return plan, refused(
				"plan must define \"type\" (\"loki\" or \"opentelemetry\") for log target %q", name)
		}
		if target.Location == "" {
			return plan, refused("plan must define \"location\" for log target %q", name)
		}
		for _, word := range target.Services {
			service := strings.TrimPrefix(word, "-")
			if service != "all" && plan.Services[service] == nil {
				return plan, refused("log target %q specifies unknown service %q", name, service)
			}
		}
	}
	return plan, nil
}

func (c *content) layOver(above content) {
	layEntries(&c.Services, above.Services, func(s *serviceConfig) string { return s.Override })
	layEntries(&c.Checks, above.Checks, func(s *checkConfig) string { return s.Override })
	layEntries(&c.Targets, above.Targets, func(s *targetConfig) string { return s.Override })
}

func layEntries[T any](below *map[string]*T, above map[string]*T, override func(*T) string) {
	if *below == nil {
		*below = map[string]*T{}
	}
	for name, entry := range above {
		if (*below)[name] == nil || override(entry) != "merge" {
			(*below)[name] = new(T) // a copy: what is laid over it must not change the layer
		}
		merge(reflect.ValueOf((*below)[name]).Elem(), reflect.ValueOf(entry).Elem())
	}
}

// merge lays what is given in one struct over another of its type.
func merge(below, above reflect.Value) {
	for at := range above.NumField() {
		to, from := below.Field(at), above.Field(at)
		if from.IsZero() {
			continue
		}
		switch {
		case from.Kind() == reflect.Struct: // runAs
			merge(to, from)
		case from.Kind() == reflect.Map:
			made := reflect.MakeMap(from.Type())
			for _, source := range []reflect.Value{to, from} {
				for entries := source.MapRange(); entries.Next(); {
					made.SetMapIndex(entries.Key(), entries.Value())
				}
			}
			to.Set(made)
		case from.Kind() == reflect.Slice:
			made := reflect.AppendSlice(reflect.MakeSlice(from.Type(), 0, 0), to)
			to.Set(reflect.AppendSlice(made, from))
		case from.Kind() == reflect.Pointer && from.Elem().Kind() == reflect.Struct:
			made := reflect.New(from.Type().Elem())
			if !to.IsNil() {
				merge(made.Elem(), to.Elem())
			}
			merge(made.Elem(), from.Elem())
			to.Set(made)
		default:
			to.Set(from)
		}
	}
}
