package pebble

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// services are all that a plan ever named; changes are carried out one after the other.
type services struct {
	mu       *sync.Mutex // the daemon's: who calls a method holds it, unless the method says else
	reaper   *reaper
	hub      *hub
	shutDown func(code int)             // asked to end the daemon
	print    func(service, line string) // what a service printed
	plan     map[string]*serviceConfig
	all      map[string]*service
	last     chan struct{} // closed when the latest change has been carried out
	ending   bool          // nothing is started any more
}

// update takes a new plan over; what runs goes on until it is replanned.
func (m *services) update(plan map[string]*serviceConfig) {
	m.plan = plan
	for name, config := range plan {
		if m.all[name] == nil {
			m.all[name] = &service{
				name: name, manager: m, state: inactive, since: time.Now(), log: lines{hub: m.hub},
			}
		}
		if known := m.all[name]; !known.lives() {
			known.config = config
		}
	}
}

// get finds a service of the plan.
func (m *services) get(name string) (*service, error) {
	if m.plan[name] == nil {
		return nil, refused("service %q does not exist", name)
	}
	return m.all[name], nil
}

// enabled are the services that start by themselves.
func (m *services) enabled() []string {
	var names []string
	for _, name := range sortedKeys(m.plan) {
		if m.plan[name].Startup == "enabled" {
			names = append(names, name)
		}
	}
	return names
}

// toStop gives them and what requires them, last started first.
func (m *services) toStop(names []string) ([]string, error) {
	wanted := map[string]bool{}
	for _, name := range names {
		if _, err := m.get(name); err != nil {
			return nil, err
		}
		wanted[name] = true
	}
	for before := -1; before != len(wanted); {
		before = len(wanted)
		for name, config := range m.plan {
			if slices.ContainsFunc(config.Requires, func(other string) bool { return wanted[other] }) {
				wanted[name] = true
			}
		}
	}
	order, err := startOrder(m.plan, sortedKeys(m.plan))
	slices.Reverse(order)
	return slices.DeleteFunc(order, func(name string) bool { return !wanted[name] }), err
}

// toReplan gives what has to stop because its configuration changed, and what has to start.
func (m *services) toReplan() (stop, start []string, err error) {
	var changed []string
	for name, known := range m.all {
		planned := m.plan[name]
		if known.lives() && planned != nil && !sameService(known.config, planned) {
			changed = append(changed, name)
		}
	}
	if changed != nil {
		if stop, err = m.toStop(changed); err != nil {
			return nil, nil, err
		}
		stop = slices.DeleteFunc(stop, func(name string) bool { return !slices.Contains(changed, name) })
	}
	start, err = startOrder(m.plan, append(m.enabled(), stop...))
	return stop, start, err
}

// sameService tells whether a running service need not become another.
func sameService(one, other *serviceConfig) bool {
	a, b := *one, *other
	a.Override, a.Startup, b.Override, b.Startup = "", "", "", ""
	return reflect.DeepEqual(a, b)
}

// carryOut begins a change: it stops, then starts, in order, after the change before it. After
// a failed start nothing more starts.
func (m *services) carryOut(c *change, stop, start []string) {
	before, done := m.last, make(chan struct{})
	m.last = done
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		failed := false
		for at, name := range slices.Concat(stop, start) {
			t := c.tasks[at]
			if t.status == "Hold" || failed && at >= len(stop) {
				t.status = "Hold"
				continue
			}
			t.status = "Doing"
			c.tell(c)
			var err error
			if at < len(stop) {
				err = m.all[name].stop(t)
			} else {
				err = m.all[name].start(t)
			}
			if err != nil {
				t.addLog("ERROR", err.Error())
				t.end("Error")
				failed = true
				continue
			}
			t.end("Done")
		}
		c.finish()
	}()
}

// stopAll stops everything, last started first, for good.
func (m *services) stopAll() {
	m.ending = true
	order, err := m.toStop(sortedKeys(m.plan))
	if err != nil { // a loop that nobody started through
		order = sortedKeys(m.plan)
	}
	for _, name := range slices.Collect(maps.Keys(m.all)) {
		if m.plan[name] == nil {
			order = append(order, name)
		}
	}
	for _, name := range order {
		if err := m.all[name].stop(nil); err != nil {
			m.print(name, err.Error())
		}
	}
}

// A service is one of these.
const (
	inactive = "inactive"
	starting = "starting" // for the first second
	active   = "active"
	backoff  = "backoff"
	failed   = "error"
	stopping = "stopping"
)

const (
	okayAfter    = time.Second
	killAfter    = 5 * time.Second
	deadAfter    = 5 * time.Second
	drainFor     = 200 * time.Millisecond // what left the process's group may keep its output open
	shownLines   = 20
	backoffFirst = 500 * time.Millisecond
	backoffMost  = 30 * time.Second
)

// service is one of the plan. Contract: docs/reference/service-auto-restart.md and
// layer-specification.md of canonical/pebble.
type service struct {
	name      string
	manager   *services
	config    *serviceConfig
	state     string
	since     time.Time
	log       lines
	starts    int
	run       *serviceRun // nil where it does not run
	delay     time.Duration
	startedAt time.Time
	retry     *time.Timer
	// restarting: it was ended only to be started again.
	restarting bool
}

// serviceRun is a process of a service; over is closed when the service has taken its end in.
type serviceRun struct {
	*process
	over chan struct{}
}

// lives tells whether it runs, or waits to be started again.
func (s *service) lives() bool { return s.run != nil || s.state == backoff }

// current is what the API calls its current status.
func (s *service) current() string {
	if s.state == starting || s.state == stopping {
		return active
	}
	return s.state
}

func (s *service) set(state string) {
	s.state = state
	s.since = time.Now()
}

// start returns when it has run for a second; meanwhile the lock is free. It fails when the
// service cannot be started, or ended within that second.
func (s *service) start(t *task) error {
	if s.state == active || s.state == starting {
		t.addLog("INFO", "Service \""+s.name+"\" already started.")
		return nil
	}
	if s.run == nil {
		s.config = s.manager.plan[s.name]
	}
	s.cancelRetry()
	s.delay = 0
	if err := s.launch(); err != nil {
		return err
	}
	begun := s.run
	if !s.wait(begun, okayAfter) {
		return nil
	}
	if shown, _ := s.log.last(shownLines); len(shown) > 0 {
		text := "Most recent service output:"
		for _, line := range shown {
			text += "\n    " + line.text
		}
		t.addLog("INFO", text)
	}
	if s.exitAction(begun.code) == "ignore" {
		return nil
	}
	return refused("cannot start service: exited quickly with code %d", begun.code)
}

// wait frees the lock until a process has ended, or for so long; whether it has ended.
func (s *service) wait(begun *serviceRun, most time.Duration) bool {
	s.manager.mu.Unlock()
	defer s.manager.mu.Lock()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-begun.over:
		return true
	case <-timer.C:
		return false
	}
}

// exitAction is what to do when it ends by itself.
func (s *service) exitAction(code int) string {
	action := s.config.OnSuccess
	if code != 0 {
		action = s.config.OnFailure
	}
	if action == "" {
		return "restart"
	}
	return action
}

func (s *service) launch() error {
	if s.manager.ending {
		return refused("cannot start service: the daemon ends")
	}
	words, err := splitWords(s.config.Command)
	if err != nil {
		return refused("cannot start service: %v", err)
	}
	// What stands in brackets are arguments that could be others.
	words = slices.DeleteFunc(words, func(word string) bool { return word == "[" || word == "]" })
	if len(words) == 0 {
		return refused("cannot start service: no command")
	}
	who, err := s.config.account()
	if err != nil {
		return refused("cannot start service: %v", err)
	}
	dir := s.config.WorkingDir
	if dir == "" {
		dir = "/"
	}
	reading, writing, err := os.Pipe()
	if err != nil {
		return refused("cannot start service: %v", err)
	}
	begun, err := s.manager.reaper.spawn(program{
		argv: words, env: environment(who, s.config.Environment), dir: dir, stdout: writing,
		stderr: writing, who: who, group: true,
	})
	writing.Close()
	if err != nil {
		reading.Close()
		return refused("cannot start service: %v", err)
	}
	s.run = &serviceRun{begun, make(chan struct{})}
	s.starts++
	s.startedAt = time.Now()
	s.set(starting)
	go s.watch(s.run, reading)
	return nil
}

// watch takes the lock when the process is to be taken for well started, and when it ends.
func (s *service) watch(begun *serviceRun, output *os.File) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer output.Close()
		readLines(output, func(line string) {
			s.log.add(line)
			s.manager.print(s.name, line)
		})
	}()
	okay := time.AfterFunc(okayAfter, func() {
		s.manager.mu.Lock()
		defer s.manager.mu.Unlock()
		if s.run == begun && s.state == starting {
			s.set(active)
		}
	})
	<-begun.done
	okay.Stop()
	select {
	case <-read:
	case <-time.After(drainFor):
	}
	s.manager.mu.Lock()
	defer s.manager.mu.Unlock()
	s.ended(begun.code)
	close(begun.over)
}

func (s *service) ended(code int) {
	s.run = nil
	again := s.restarting
	s.restarting = false
	switch action := s.exitAction(code); {
	case s.state == stopping:
		s.set(inactive)
	case again:
		s.backOff()
	case s.state == starting && s.delay == 0 && action == "restart":
		s.set(restingState(code))
	default:
		s.react(action, code)
	}
}

func restingState(code int) string {
	if code != 0 {
		return failed
	}
	return inactive
}

func (s *service) react(action string, code int) {
	if action == "restart" {
		s.backOff()
		return
	}
	s.set(restingState(code))
	switch {
	case action == "success-shutdown" || action == "shutdown" && code == 0:
		s.manager.shutDown(0)
	case action == "failure-shutdown" || action == "shutdown":
		s.manager.shutDown(10)
	}
}

// checkFailed does what on-check-failure asks for.
func (s *service) checkFailed(action string) {
	if s.run == nil || s.state == stopping || action == "ignore" || action == "" {
		return
	}
	if action != "restart" {
		s.react(action, 1)
		return
	}
	s.restarting = true
	begun := s.run
	s.manager.reaper.kill(begun.process, unix.SIGTERM, true)
	time.AfterFunc(s.config.KillDelay.or(killAfter), func() {
		s.manager.reaper.kill(begun.process, unix.SIGKILL, true)
	})
}

func (s *service) backOff() {
	if s.manager.ending {
		s.set(inactive)
		return
	}
	most, factor := s.config.BackoffLimit.or(backoffMost), 2.0
	if s.config.BackoffFactor != nil {
		factor = *s.config.BackoffFactor
	}
	if time.Since(s.startedAt) > max(most, s.delay) {
		s.delay = 0
	}
	if s.delay == 0 {
		s.delay = s.config.BackoffDelay.or(backoffFirst)
	} else {
		s.delay = min(time.Duration(float64(s.delay)*factor), most)
	}
	s.set(backoff)
	var timer *time.Timer
	timer = time.AfterFunc(s.delay, func() {
		s.manager.mu.Lock()
		defer s.manager.mu.Unlock()
		if s.retry != timer { // stopped, or started, meanwhile
			return
		}
		s.retry = nil
		if err := s.launch(); err != nil {
			s.log.add(err.Error())
			s.startedAt = time.Now()
			s.backOff()
		}
	})
	s.retry = timer
}

func (s *service) cancelRetry() {
	if s.retry != nil {
		s.retry.Stop()
		s.retry = nil
	}
}

// stop sends SIGTERM, after a while SIGKILL; meanwhile the lock is free. It fails when the
// service does not end even then.
func (s *service) stop(t *task) error {
	s.cancelRetry()
	begun := s.run
	if begun == nil {
		if s.state != inactive {
			s.set(inactive)
		}
		return nil
	}
	s.set(stopping)
	s.manager.reaper.kill(begun.process, unix.SIGTERM, true)
	if s.wait(begun, s.config.KillDelay.or(killAfter)) {
		return nil
	}
	if t != nil {
		t.addLog("WARN", "Service \""+s.name+"\" did not end on SIGTERM; killed")
	}
	s.manager.reaper.kill(begun.process, unix.SIGKILL, true)
	if !s.wait(begun, deadAfter) {
		return refused("process still running after SIGTERM and SIGKILL: %q", s.name)
	}
	return nil
}

// signal fails when the service does not run, or there is no such signal.
func (s *service) signal(name string) error {
	number := unix.SignalNum(name)
	if number == 0 || !strings.HasPrefix(name, "SIG") {
		return refused("cannot send signal: invalid signal name %q", name)
	}
	if s.run == nil {
		return refused("cannot send signal to service: invalid state: %q is not running", s.name)
	}
	s.manager.reaper.kill(s.run.process, number, false)
	return nil
}

func (r runAs) account() (*account, error) { return findAccount(r.UserID, r.User, r.GroupID, r.Group) }

type serviceJSON struct {
	Name         string `json:"name"`
	Startup      string `json:"startup"`
	Current      string `json:"current"`
	CurrentSince string `json:"current-since"`
}

func (s *service) json(planned *serviceConfig) serviceJSON {
	startup := planned.Startup
	if startup == "" {
		startup = "disabled"
	}
	return serviceJSON{s.name, startup, s.current(), stamp(s.since)}
}
