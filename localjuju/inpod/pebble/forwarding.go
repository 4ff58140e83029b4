package pebble

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	bundleFor   = time.Second // more may come: lines go together
	pushTimeout = 10 * time.Second
	lastPush    = 2 * time.Second
	mostEntries = 100 // kept and sent; the oldest go first
)

// forwarding sends what services print to the plan's log targets of type loki. Contract:
// docs/reference/log-forwarding.md of canonical/pebble, and Loki's push API.
type forwarding struct {
	mu       *sync.Mutex // the daemon's
	services *services
	say      func(line string)
	targets  map[string]*target
	ending   sync.WaitGroup
}

// update takes a new plan over, with the lock held: new targets begin, those that are gone end.
func (f *forwarding) update(plan map[string]*targetConfig) {
	for name, known := range f.targets {
		if plan[name] == nil || plan[name].Type != "loki" {
			close(known.quit)
			delete(f.targets, name)
		}
	}
	for name, config := range plan {
		if config.Type != "loki" {
			continue
		}
		if f.targets[name] == nil {
			made := &target{
				name: name, of: f, seen: map[string]int{}, wake: f.services.hub.join(),
				quit: make(chan struct{}),
			}
			f.targets[name] = made
			f.ending.Add(1)
			go made.run()
		}
		f.targets[name].config = config
		wake(f.targets[name].wake)
	}
}

// stop ends all, after what is left has been sent.
func (f *forwarding) stop() {
	f.mu.Lock()
	f.update(nil)
	f.mu.Unlock()
	f.ending.Wait()
}

// target reads the services' lines and sends them in bundles.
type target struct {
	name   string
	of     *forwarding
	config *targetConfig
	seen   map[string]int // how many lines of a service were read
	kept   []labelled
	wake   chan struct{}
	quit   chan struct{}
}

type labelled struct {
	service string
	labels  map[string]string
	entry   entry
}

func (t *target) run() {
	defer t.of.ending.Done()
	defer t.of.services.hub.leave(t.wake)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-t.quit
		cancel()
	}()
	for ctx.Err() == nil {
		if !t.collect() {
			select {
			case <-t.wake:
			case <-t.quit:
			}
			continue
		}
		select {
		case <-time.After(bundleFor):
		case <-t.quit:
			continue
		}
		t.collect()
		t.push(ctx, pushTimeout)
	}
	t.collect()
	t.push(context.Background(), lastPush)
}

// collect takes new lines; whether there were any.
func (t *target) collect() bool {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	found := false
	for _, name := range sortedKeys(t.of.services.all) {
		if !logsTo(t.config, name) {
			// As upstream: a service that is added again begins with what is still kept.
			delete(t.seen, name)
			continue
		}
		service := t.of.services.all[name]
		read, total := service.log.since(t.seen[name])
		t.seen[name] = total
		if len(read) == 0 {
			continue
		}
		found = true
		marks := targetLabels(t.config, name, service.config.Environment)
		for _, each := range read {
			t.kept = append(t.kept, labelled{name, marks, each})
		}
	}
	t.kept = slices.Clone(t.kept[max(0, len(t.kept)-mostEntries):])
	return found
}

type lokiStream struct {
	Stream map[string]string `json:"stream"`
	Values [][2]string       `json:"values"`
}

func (t *target) body() []byte {
	sorted := slices.Clone(t.kept)
	slices.SortStableFunc(sorted, func(a, b labelled) int {
		return cmp.Or(cmp.Compare(a.service, b.service), a.entry.time.Compare(b.entry.time))
	})
	var streams []lokiStream
	for _, each := range sorted {
		last := len(streams) - 1
		if last < 0 || !maps.Equal(streams[last].Stream, each.labels) {
			streams = append(streams, lokiStream{Stream: each.labels})
			last++
		}
		at := strconv.FormatInt(each.entry.time.UnixNano(), 10)
		streams[last].Values = append(streams[last].Values, [2]string{at, each.entry.text})
	}
	text, _ := json.Marshal(map[string]any{"streams": streams})
	return text
}

// push keeps what the target cannot take now for the next time, and drops what it refuses.
func (t *target) push(ctx context.Context, most time.Duration) {
	if len(t.kept) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	t.of.mu.Lock()
	location := t.config.Location
	t.of.mu.Unlock()
	request, err := http.NewRequestWithContext(
		ctx, http.MethodPost, location, bytes.NewReader(t.body()))
	if err != nil {
		t.failed(err)
		return
	}
	request.Header.Set("User-Agent", "pebble/"+version)
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		t.failed(err)
		return
	}
	answer.Body.Close()
	status := answer.StatusCode
	taken := status == http.StatusOK || status == http.StatusNoContent
	if taken || status >= 400 && status < 500 && status != http.StatusTooManyRequests {
		t.kept = nil
	}
	if !taken {
		t.failed(fmt.Errorf("server returned HTTP %d", status))
	}
}

func (t *target) failed(err error) {
	t.of.say(fmt.Sprintf("Cannot flush logs to target %q: %v", t.name, err))
}

// logsTo tells whether a target takes a service's lines: the last word on it counts.
func logsTo(config *targetConfig, service string) bool {
	for _, word := range slices.Backward(config.Services) {
		switch word {
		case service, "all":
			return true
		case "-" + service, "-all":
			return false
		}
	}
	return false
}

// targetLabels are those of a service's lines, with its variables in place of their names.
func targetLabels(config *targetConfig, service string, environment map[string]string) map[string]string {
	found := map[string]string{}
	for key, text := range config.Labels {
		found[key] = os.Expand(text, func(name string) string {
			if name == "$" {
				return "$"
			}
			return environment[name]
		})
	}
	found["pebble_service"] = service
	return found
}
