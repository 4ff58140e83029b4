package pebble

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"strconv"
	"sync"
	"syscall"
)

// process is one that the daemon started. code is valid when done is closed: the exit code, or
// 128 and the signal that ended it.
type process struct {
	pid  int
	done chan struct{}
	code int
	// group: what is left of its process group is killed when it ends.
	group bool
}

// program is what to start, in a session of its own. A nil file is /dev/null.
type program struct {
	argv                  []string
	env                   []string
	dir                   string
	stdin, stdout, stderr *os.File
	who                   *account
	group                 bool // see process
	terminal              bool // stdout is to be its controlling terminal
}

// reaper waits for every child; as a container's first process, for everybody's orphans.
type reaper struct {
	mu      sync.Mutex // held while a child may have ended and is not known yet
	waiting map[int]*process
}

func startReaper() *reaper {
	r := &reaper{waiting: map[int]*process{}}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	go func() {
		for range children {
			r.reap()
		}
	}()
	return r
}

func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		ended, known := r.waiting[pid]
		if !known {
			continue
		}
		delete(r.waiting, pid)
		ended.code = status.ExitStatus()
		if status.Signaled() {
			ended.code = 128 + int(status.Signal())
		}
		if ended.group {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
		close(ended.done)
	}
}

// spawn starts a program.
func (r *reaper) spawn(what program) (*process, error) {
	path, err := exec.LookPath(what.argv[0])
	if err != nil {
		return nil, err
	}
	if what.dir != "" {
		if _, err := os.Stat(what.dir); errors.Is(err, fs.ErrNotExist) {
			return nil, &fs.PathError{Op: "chdir", Path: what.dir, Err: syscall.ENOENT}
		}
	}
	attributes := &syscall.ProcAttr{
		Dir: what.dir, Env: what.env, Sys: &syscall.SysProcAttr{Setsid: true},
	}
	if what.terminal {
		attributes.Sys.Setctty, attributes.Sys.Ctty = true, 1
	}
	if what.who.isOther() {
		attributes.Sys.Credential = &syscall.Credential{
			Uid: uint32(what.who.uid), Gid: uint32(what.who.gid),
		}
	}
	for _, file := range []*os.File{what.stdin, what.stdout, what.stderr} {
		if file == nil {
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				return nil, err
			}
			defer null.Close()
			file = null
		}
		attributes.Files = append(attributes.Files, file.Fd())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, what.argv, attributes)
	if err != nil {
		return nil, &fs.PathError{Op: "fork/exec", Path: path, Err: err}
	}
	started := &process{pid: pid, done: make(chan struct{}), group: what.group}
	r.waiting[pid] = started
	return started, nil
}

// kill sends a signal to a process, or to its whole group; nothing happens when it has ended.
func (r *reaper) kill(p *process, number syscall.Signal, group bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, lives := r.waiting[p.pid]; !lives {
		return
	}
	pid := p.pid
	if group {
		pid = -pid
	}
	_ = syscall.Kill(pid, number)
}

// account is who a program runs as. home and name are empty where the user is not in the list.
type account struct {
	uid, gid   int
	home, name string
}

// isOther tells whether it is not the daemon's own; so is nil not.
func (a *account) isOther() bool {
	return a != nil && (a.uid != os.Getuid() || a.gid != os.Getgid())
}

// findAccount gives nil for the daemon's own.
func findAccount(userID *int, userName string, groupID *int, groupName string) (*account, error) {
	var entry *user.User
	if userName != "" {
		found, err := user.Lookup(userName)
		if err != nil {
			return nil, refused("%v", err)
		}
		uid, _ := strconv.Atoi(found.Uid)
		if userID != nil && *userID != uid {
			return nil, refused("user %q UID (%d) does not match user-id (%d)", userName, uid, *userID)
		}
		entry, userID = found, &uid
	}
	if groupName != "" {
		found, err := user.LookupGroup(groupName)
		if err != nil {
			return nil, refused("%v", err)
		}
		gid, _ := strconv.Atoi(found.Gid)
		if groupID != nil && *groupID != gid {
			return nil, refused(
				"group %q GID (%d) does not match group-id (%d)", groupName, gid, *groupID)
		}
		groupID = &gid
	}
	if userID == nil {
		if groupID != nil {
			return nil, refused("must specify user, not just group")
		}
		return nil, nil
	}
	if entry == nil {
		entry, _ = user.LookupId(strconv.Itoa(*userID))
	}
	if groupID == nil {
		if entry == nil {
			return nil, refused("%v", user.UnknownUserIdError(*userID))
		}
		gid, _ := strconv.Atoi(entry.Gid)
		groupID = &gid
	}
	found := &account{uid: *userID, gid: *groupID}
	if entry != nil {
		found.home, found.name = entry.HomeDir, entry.Username
	}
	return found, nil
}

// ownEnvironment is the daemon's.
func ownEnvironment() map[string]string {
	found := map[string]string{}
	for _, each := range os.Environ() {
		for at := range each {
			if each[at] == '=' && at > 0 {
				found[each[:at]] = each[at+1:]
				break
			}
		}
	}
	return found
}

// environment is the daemon's with what is added; HOME and USER follow the user unless given.
func environment(who *account, added ...map[string]string) []string {
	found := ownEnvironment()
	if who != nil && who.name != "" {
		found["HOME"], found["USER"] = who.home, who.name
	}
	for _, each := range added {
		for key, value := range each {
			found[key] = value
		}
	}
	return listed(found)
}

func listed(environment map[string]string) []string {
	found := make([]string, 0, len(environment))
	for key, value := range environment {
		found = append(found, key+"="+value)
	}
	return found
}
