package pebble

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	version   = "1.26.0" // what Juju 3.6 brings
	orderStep = 1000

	answerWithin = 500 * time.Millisecond // at the end of the daemon
)

var layerFile = regexp.MustCompile(`^(\d{3})-(.*)\.yaml$`)

// daemon puts the parts together: what the API works on. mu is held by who reads or changes the
// state of any of them; who waits for something does not hold it.
type daemon struct {
	mu         sync.Mutex
	folder     string
	bootID     string
	verbose    bool
	reaper     *reaper
	layers     []layer
	plan       content
	services   *services
	checks     *checks
	changes    *changes
	notices    *notices
	identities *identities
	forwarding *forwarding
	executions map[string]*execution // by their tasks' ids
	ended      chan struct{}         // closed when the daemon is to end, with exitCode
	exitCode   int
}

func newDaemon(folder string, verbose bool) (*daemon, error) {
	known, err := readIdentities(filepath.Join(folder, "identities.json"))
	if err != nil {
		return nil, err
	}
	boot := make([]byte, 16)
	_, _ = rand.Read(boot)
	d := &daemon{
		folder: folder, bootID: hex.EncodeToString(boot), verbose: verbose, identities: known,
		reaper: startReaper(), notices: newNotices(), executions: map[string]*execution{},
		ended: make(chan struct{}),
	}
	d.changes = &changes{tell: func(c *change) {
		d.notices.add("change-update", c.id, everybody, map[string]string{"kind": c.kind}, 0)
	}}
	d.services = &services{
		mu: &d.mu, reaper: d.reaper, hub: &hub{readers: map[chan struct{}]struct{}{}},
		shutDown: d.end, all: map[string]*service{},
		print: func(service, line string) { d.say("[" + service + "] " + line) },
	}
	d.checks = &checks{
		mu: &d.mu, changes: d.changes, reaper: d.reaper, services: d.services,
		onFailure: d.checkFailed, all: map[string]*check{},
	}
	d.forwarding = &forwarding{
		mu: &d.mu, services: d.services, say: d.say, targets: map[string]*target{},
	}
	return d, nil
}

// say prints a line where that was asked for.
func (d *daemon) say(line string) {
	if d.verbose {
		fmt.Println(stamp(time.Now()), line)
	}
}

// end has the daemon stop its services and end; called with the lock held.
func (d *daemon) end(code int) {
	select {
	case <-d.ended:
	default:
		d.exitCode = code
		close(d.ended)
	}
}

func (d *daemon) checkFailed(name string) {
	for _, each := range d.services.all {
		if each.config != nil {
			each.checkFailed(each.config.OnCheckFailure[name])
		}
	}
}

// readLayers makes the plan of the layers' files.
func (d *daemon) readLayers() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	entries, err := os.ReadDir(filepath.Join(d.folder, "layers"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, each := range entries {
		match := layerFile.FindStringSubmatch(each.Name())
		if match == nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(d.folder, "layers", each.Name()))
		if err != nil {
			return err
		}
		found, err := parseLayer(string(text), match[2])
		if err != nil {
			return err
		}
		order, _ := strconv.Atoi(match[1])
		d.layers = append(d.layers, layer{order * orderStep, match[2], found})
	}
	return d.take(d.layers)
}

// autostart starts the services that start by themselves.
func (d *daemon) autostart() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.services.enabled()) == 0 {
		return nil
	}
	_, err := d.startServices("autostart", nil)
	return err
}

// serve answers at the socket, and at the address where there is one, until the end.
func (d *daemon) serve(socket, address string) (stop func(), err error) {
	server := &http.Server{Handler: d.api(), ConnContext: withUser}
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, err
	}
	// Anybody may connect: what one may ask for then depends on who it is.
	local, err := listen(socket, 0o666)
	if err != nil {
		return nil, err
	}
	go func() { _ = server.Serve(local) }()
	if address != "" {
		remote, err := net.Listen("tcp", address)
		if err != nil {
			return nil, err
		}
		go func() { _ = server.Serve(remote) }()
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
		defer cancel()
		_ = server.Shutdown(ctx)
		server.Close()
		os.Remove(socket)
	}, nil
}

// listen gives a Unix socket; one that was left behind is replaced. It is bound under another
// name and moved, so that who sees the path can connect.
func listen(path string, mode os.FileMode) (net.Listener, error) {
	// Short: a Unix socket's path may have 107 bytes.
	hidden := filepath.Join(filepath.Dir(path), "."+strconv.Itoa(os.Getpid()))
	os.Remove(hidden)
	made, err := net.ListenUnix("unix", &net.UnixAddr{Name: hidden, Net: "unix"})
	if err != nil {
		return nil, err
	}
	made.SetUnlinkOnClose(false)
	if err = os.Chmod(hidden, mode); err == nil {
		err = os.Rename(hidden, path)
	}
	if err != nil {
		made.Close()
		os.Remove(hidden)
		return nil, err
	}
	return made, nil
}

// finish stops everything.
func (d *daemon) finish() {
	d.mu.Lock()
	d.checks.stopAll()
	d.services.stopAll()
	d.mu.Unlock()
	d.forwarding.stop()
}

// addLayer adds a layer on top, or combines it with the one of that label. With an error nothing
// has changed.
func (d *daemon) addLayer(label, text string, combine bool) error {
	found, err := parseLayer(text, label)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	changed := slices.Clone(d.layers)
	at := slices.IndexFunc(changed, func(known layer) bool { return known.label == label })
	switch {
	case at < 0:
		top := 0
		for _, known := range changed {
			top = max(top, known.order)
		}
		changed = append(changed, layer{(top/orderStep + 1) * orderStep, label, found})
	case combine:
		var merged content
		merged.layOver(changed[at].content)
		merged.layOver(found)
		changed[at].content = merged
	default:
		return refused("layer %q already exists", label)
	}
	return d.take(changed)
}

// take makes the plan of these layers the daemon's.
func (d *daemon) take(layers []layer) error {
	plan, err := combine(layers)
	if err != nil {
		return err
	}
	d.layers, d.plan = layers, plan
	d.services.update(plan.Services)
	d.checks.update(plan.Checks)
	d.forwarding.update(plan.Targets)
	return nil
}

// startServices begins a change: start, stop, restart, autostart or replan.
func (d *daemon) startServices(action string, names []string) (*change, error) {
	var stop, start []string
	var err error
	word := map[string]string{
		"start": "Start", "stop": "Stop", "restart": "Restart", "autostart": "Autostart",
		"replan": "Replan",
	}[action]
	switch action {
	case "autostart":
		if names = d.services.enabled(); len(names) == 0 {
			return nil, &apiError{"no default services", 400, "no-default-services"}
		}
		start, err = startOrder(d.services.plan, names)
	case "start":
		start, err = startOrder(d.services.plan, names)
	case "stop":
		stop, err = d.services.toStop(names)
	case "restart":
		if stop, err = d.services.toStop(names); err != nil {
			return nil, err
		}
		stop = slices.DeleteFunc(stop, func(name string) bool { return d.services.all[name].run == nil })
		start, err = startOrder(d.services.plan, slices.Concat(names, stop))
	case "replan":
		stop, start, err = d.services.toReplan()
	default:
		return nil, refused("action %q is unsupported", action)
	}
	if err != nil {
		return nil, err
	}
	var steps []step
	for _, name := range stop {
		steps = append(steps, step{"stop", fmt.Sprintf("Stop service %q", name)})
	}
	for _, name := range start {
		steps = append(steps, step{"start", fmt.Sprintf("Start service %q", name)})
	}
	about := names // else what is started, else what is stopped
	for _, other := range [][]string{start, stop} {
		if len(about) == 0 {
			about = other
		}
	}
	summary := word + " - no services"
	if len(about) > 0 {
		summary = fmt.Sprintf("%s service %q", word, about[0])
	}
	if len(about) > 1 {
		summary += fmt.Sprintf(" and %d more", len(about)-1)
	}
	begun := d.changes.add(action, summary, steps...)
	d.services.carryOut(begun, stop, start)
	return begun, nil
}
