package pebble

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

func (d *daemon) showPlan(_ http.ResponseWriter, r *http.Request) (any, error) {
	if format := r.URL.Query().Get("format"); format != "yaml" {
		return nil, refused("invalid format %q", format)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	text, err := yaml.Marshal(d.plan)
	return string(text), err
}

func (d *daemon) postLayer(_ http.ResponseWriter, r *http.Request) (any, error) {
	var body struct {
		Action, Label, Format, Layer string
		Combine                      bool
	}
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	switch {
	case body.Action != "add":
		return nil, refused("invalid action %q", body.Action)
	case body.Label == "":
		return nil, refused("label must be set")
	case body.Format != "yaml":
		return nil, refused("invalid format %q", body.Format)
	}
	return true, d.addLayer(body.Label, body.Layer, body.Combine)
}

func (d *daemon) listServices(_ http.ResponseWriter, r *http.Request) (any, error) {
	names := many(r, "names")
	d.mu.Lock()
	defer d.mu.Unlock()
	found := []serviceJSON{}
	for _, name := range sortedKeys(d.services.plan) {
		if len(names) == 0 || slices.Contains(names, name) {
			found = append(found, d.services.all[name].json(d.services.plan[name]))
		}
	}
	return found, nil
}

func (d *daemon) changeServices(_ http.ResponseWriter, r *http.Request) (any, error) {
	var body struct {
		Action   string
		Services []string
	}
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	switch body.Action {
	case "start", "stop", "restart":
		if len(body.Services) == 0 {
			return nil, refused("no services to %s provided", body.Action)
		}
	case "autostart", "replan":
		if len(body.Services) > 0 {
			return nil, refused("%s accepts no service names", body.Action)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	begun, err := d.startServices(body.Action, body.Services)
	if err != nil {
		return nil, err
	}
	return accepted{begun.id, nil}, nil
}

func (d *daemon) sendSignals(_ http.ResponseWriter, r *http.Request) (any, error) {
	var body struct {
		Signal   string
		Services []string
	}
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	if len(body.Services) == 0 {
		return nil, refused("must specify one or more services")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	found, err := d.servicesOf(body.Services)
	if err != nil {
		return nil, err
	}
	for _, each := range found {
		if err := each.signal(body.Signal); err != nil {
			return nil, err
		}
	}
	return true, nil
}

// servicesOf finds services of the plan, with the lock held.
func (d *daemon) servicesOf(names []string) ([]*service, error) {
	var found []*service
	for _, name := range names {
		each, err := d.services.get(name)
		if err != nil {
			return nil, err
		}
		found = append(found, each)
	}
	return found, nil
}

type logLine struct {
	entry   entry
	service string
}

// readLogs answers with one JSON object a line; with `follow` until the client goes.
func (d *daemon) readLogs(w http.ResponseWriter, r *http.Request) (any, error) {
	query := r.URL.Query()
	count := 30
	if text := query.Get("n"); text != "" {
		given, err := strconv.Atoi(text)
		if err != nil || given < -1 {
			return nil, refused("n must be -1, 0, or a positive integer")
		}
		count = given
	}
	d.mu.Lock()
	names := query["services"]
	if len(names) == 0 {
		names = sortedKeys(d.services.plan)
	}
	services, err := d.servicesOf(names)
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	changed := d.services.hub.join()
	defer d.services.hub.leave(changed)
	var lines []logLine
	seen := make([]int, len(services))
	for at, each := range services {
		var kept []entry
		kept, seen[at] = each.log.last(count)
		for _, line := range kept {
			lines = append(lines, logLine{line, each.name})
		}
	}
	slices.SortStableFunc(lines, func(a, b logLine) int {
		return cmp.Or(a.entry.time.Compare(b.entry.time), cmp.Compare(a.service, b.service))
	})
	if count >= 0 {
		lines = lines[max(0, len(lines)-count):]
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	output := json.NewEncoder(w)
	flush := http.NewResponseController(w).Flush
	for {
		for _, line := range lines {
			if output.Encode(map[string]string{
				"time": stamp(line.entry.time), "service": line.service, "message": line.entry.text,
			}) != nil {
				return written, nil
			}
		}
		lines = nil
		_ = flush()
		if query.Get("follow") != "true" {
			return written, nil
		}
		select {
		case <-r.Context().Done():
			return written, nil
		case <-d.ended:
			return written, nil
		case <-changed:
		}
		for at, each := range services {
			var read []entry
			read, seen[at] = each.log.since(seen[at])
			for _, line := range read {
				lines = append(lines, logLine{line, each.name})
			}
		}
	}
}

func (d *daemon) showMetrics(w http.ResponseWriter, _ *http.Request) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var text strings.Builder
	head := func(name, help, kind string) {
		fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	truth := map[bool]int{true: 1}
	head("pebble_service_active", "Whether the service is currently active (1) or not (0)", "gauge")
	for _, name := range sortedKeys(d.services.all) {
		fmt.Fprintf(&text, "pebble_service_active{service=%q} %d\n",
			name, truth[d.services.all[name].current() == active])
	}
	head("pebble_service_start_count", "Number of times the service has started", "counter")
	for _, name := range sortedKeys(d.services.all) {
		fmt.Fprintf(&text, "pebble_service_start_count{service=%q} %d\n",
			name, d.services.all[name].starts)
	}
	head("pebble_check_up", "Whether the health check is up (1) or not (0)", "gauge")
	for _, name := range sortedKeys(d.checks.all) {
		fmt.Fprintf(&text, "pebble_check_up{check=%q} %d\n",
			name, truth[d.checks.all[name].status() == "up"])
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(text.String()))
	return written, nil
}
