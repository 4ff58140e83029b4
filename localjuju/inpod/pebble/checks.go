package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	usualPeriod    = 10 * time.Second
	usualTimeout   = 3 * time.Second
	usualThreshold = 3
	outputBytes    = 1024
)

// checks are all of the plan. A check that works is a `perform-check` change that goes on; when
// it fails as often as its threshold, that change ends with Error and a `recover-check` change
// goes on until it works again: so Juju learns of failure and recovery.
type checks struct {
	mu        *sync.Mutex // the daemon's: who calls a method holds it, unless the method says else
	changes   *changes
	reaper    *reaper
	services  *services
	onFailure func(name string)
	all       map[string]*check
}

// update takes a new plan over: what changed begins anew.
func (m *checks) update(plan map[string]*checkConfig) {
	for name, known := range m.all {
		if !reflect.DeepEqual(plan[name], known.config) {
			known.stop()
			delete(m.all, name)
		}
	}
	for name, config := range plan {
		if m.all[name] == nil {
			m.all[name] = &check{name: name, config: config, manager: m}
			if config.Startup != "disabled" {
				m.all[name].start()
			}
		}
	}
}

// find gives those of these names, all for none, at a level. One of level ready counts for ready
// only, one of alive for both.
func (m *checks) find(level string, names []string) []*check {
	var found []*check
	for _, name := range sortedKeys(m.all) {
		known := m.all[name]
		counts := level == "" || known.config.Level == level ||
			level == "ready" && known.config.Level == "alive"
		if counts && (len(names) == 0 || slices.Contains(names, name)) {
			found = append(found, known)
		}
	}
	return found
}

func (m *checks) stopAll() {
	for _, known := range m.all {
		known.stop()
	}
}

// check is performed again and again while end is not nil.
type check struct {
	name      string
	config    *checkConfig
	manager   *checks
	failures  int
	successes int
	change    *change
	end       context.CancelFunc
}

func (c *check) active() bool { return c.end != nil }

func (c *check) threshold() int {
	if c.config.Threshold == nil {
		return usualThreshold
	}
	return *c.config.Threshold
}

func (c *check) status() string {
	switch {
	case !c.active():
		return "inactive"
	case c.failures >= c.threshold():
		return "down"
	}
	return "up"
}

func (c *check) start() {
	if c.active() {
		return
	}
	c.failures = 0
	c.begin("perform-check", "Perform")
	ctx, cancel := context.WithCancel(context.Background())
	c.end = cancel
	go func() {
		ticker := time.NewTicker(max(c.config.Period.or(usualPeriod), time.Millisecond))
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				_ = c.perform(ctx)
			}
		}
	}()
}

// stop ends its change well.
func (c *check) stop() {
	if c.active() {
		c.end()
		c.end = nil
		c.finish("Done")
		c.change = nil
	}
}

func (c *check) begin(kind, word string) {
	what := "exec"
	if c.config.HTTP != nil {
		what = "HTTP"
	} else if c.config.TCP != nil {
		what = "TCP"
	}
	summary := fmt.Sprintf("%s %s check %q", word, what, c.name)
	c.change = c.manager.changes.add(kind, summary, step{kind, summary})
	c.change.tasks[0].status = "Doing"
	c.change.tasks[0].data = map[string]any{"check-name": c.name}
	c.change.tell(c.change)
}

func (c *check) finish(status string) {
	if c.change != nil && !c.change.isReady() {
		c.change.tasks[0].end(status)
		c.change.finish()
	}
}

// perform does it now, without the lock; the error says why it failed.
func (c *check) perform(ctx context.Context) error {
	most := c.config.Timeout.or(usualTimeout)
	limited, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	err := c.try(limited)
	if err != nil && errors.Is(limited.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("check timed out after %v", most)
	}
	c.manager.mu.Lock()
	defer c.manager.mu.Unlock()
	if ctx.Err() != nil { // stopped, or asked for by one who has gone
		return ctx.Err()
	}
	if err != nil {
		c.failed(err)
	} else {
		c.succeeded()
	}
	return err
}

func (c *check) succeeded() {
	wasDown := c.failures >= c.threshold()
	c.failures = 0
	c.successes++
	if wasDown && c.active() {
		c.finish("Done")
		c.begin("perform-check", "Perform")
	}
}

func (c *check) failed(err error) {
	c.failures++
	if c.change != nil {
		c.change.tasks[0].addLog("ERROR", err.Error())
	}
	if c.failures == c.threshold() && c.active() {
		c.finish("Error")
		c.begin("recover-check", "Recover")
		c.manager.onFailure(c.name)
	}
}

func (c *check) try(ctx context.Context) error {
	switch {
	case c.config.HTTP != nil:
		return tryHTTP(ctx, c.config.HTTP)
	case c.config.TCP != nil:
		host := c.config.TCP.Host
		if host == "" {
			host = "localhost"
		}
		var dialer net.Dialer
		address := net.JoinHostPort(host, strconv.Itoa(c.config.TCP.Port))
		connection, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			connection.Close()
		}
		return err
	}
	return c.tryExec(ctx, c.config.Exec)
}

func tryHTTP(ctx context.Context, config *httpCheck) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.URL, nil)
	if err != nil {
		return err
	}
	for key, value := range config.Headers {
		request.Header.Set(key, value)
		if strings.EqualFold(key, "host") {
			request.Host = value
		}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fmt.Errorf("non-2xx status code %d", answer.StatusCode)
	}
	return nil
}

func (c *check) tryExec(ctx context.Context, config *execCheck) error {
	var service serviceConfig
	if name := config.ServiceContext; name != "" {
		c.manager.mu.Lock()
		known, err := c.manager.services.get(name)
		if err == nil {
			service = *known.config
		}
		c.manager.mu.Unlock()
		if err != nil {
			return err
		}
	}
	as := config.runAs.over(service.runAs)
	who, err := as.account()
	if err != nil {
		return err
	}
	words, err := splitWords(config.Command)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return errors.New("no command")
	}
	if as.WorkingDir == "" {
		as.WorkingDir = "/"
	}
	reading, writing, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reading.Close()
	begun, err := c.manager.reaper.spawn(program{
		argv: words, env: environment(who, service.Environment, config.Environment),
		dir: as.WorkingDir, stdout: writing, stderr: writing, who: who,
	})
	writing.Close()
	if err != nil {
		return err
	}
	read := make(chan []byte, 1)
	go func() {
		said, _ := io.ReadAll(io.LimitReader(reading, outputBytes))
		_, _ = io.Copy(io.Discard, reading)
		read <- said
	}()
	select {
	case <-ctx.Done():
		c.manager.reaper.kill(begun, syscall.SIGKILL, true)
		<-begun.done
		return ctx.Err()
	case <-begun.done:
	}
	if begun.code == 0 {
		return nil
	}
	select {
	case said := <-read:
		if said = bytes.TrimSpace(said); len(said) > 0 {
			return fmt.Errorf("exit status %d; %s", begun.code, said)
		}
	case <-time.After(drainFor): // a child keeps the output open
	}
	return fmt.Errorf("exit status %d", begun.code)
}

// over takes from below what is not given.
func (r runAs) over(below runAs) runAs {
	result := below
	merge(reflect.ValueOf(&result).Elem(), reflect.ValueOf(r))
	return result
}

type checkJSON struct {
	Name      string `json:"name"`
	Startup   string `json:"startup"`
	Status    string `json:"status"`
	Level     string `json:"level,omitempty"`
	Successes int    `json:"successes"`
	Failures  int    `json:"failures"`
	Threshold int    `json:"threshold"`
	ChangeID  string `json:"change-id,omitempty"`
}

func (c *check) json() checkJSON {
	found := checkJSON{
		Name: c.name, Startup: c.config.Startup, Status: c.status(), Level: c.config.Level,
		Successes: c.successes, Failures: c.failures, Threshold: c.threshold(),
	}
	if found.Startup == "" {
		found.Startup = "enabled"
	}
	if c.change != nil {
		found.ChangeID = c.change.id
	}
	return found
}
