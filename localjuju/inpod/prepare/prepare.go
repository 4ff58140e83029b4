// Package prepare is what a unit's init container runs: it puts this program where the pod's other
// containers find it, whatever images those are of.
package prepare

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"localjuju/inpod/hook"
)

// Names of the program in the folder of programs, as Juju's pods have them.
const (
	Agent  = "containeragent"
	Pebble = "pebble"
)

// Main is `containeragent init`; it returns the exit code.
func Main(arguments []string) int {
	flags := flag.NewFlagSet("init", flag.ContinueOnError)
	data := flags.String("data-dir", "/var/lib/juju", "the charm container's folder of Juju")
	programs := flags.String("bin-dir", "/charm/bin", "the folder of programs of all containers")
	if flags.Parse(arguments) != nil {
		return 2
	}
	if err := Run(*data, *programs); err != nil {
		fmt.Fprintln(os.Stderr, "ERROR "+err.Error())
		return 1
	}
	return 0
}

// Run copies this program into the folder of programs, and makes the hook commands.
func Run(data, programs string) error {
	agent := filepath.Join(programs, Agent)
	if err := install(agent); err != nil {
		return err
	}
	pebble := filepath.Join(programs, Pebble)
	if err := remove(pebble); err != nil {
		return err
	}
	// A workload has this one file as a mount, and kubelet mounts no link that leads out of a volume.
	if err := os.Link(agent, pebble); err != nil {
		return err
	}
	tools := filepath.Join(data, "tools")
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return err
	}
	for _, name := range hook.Commands {
		if err := link(agent, filepath.Join(tools, name)); err != nil {
			return err
		}
	}
	return nil
}

// install copies this program; an init container may run again in the same pod.
func install(target string) error {
	source, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer source.Close()
	partial := target + ".partial"
	made, err := os.OpenFile(partial, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(made, source); err != nil {
		made.Close()
		return err
	}
	if err := made.Close(); err != nil {
		return err
	}
	return os.Rename(partial, target)
}

func link(to, name string) error {
	if err := remove(name); err != nil {
		return err
	}
	return os.Symlink(to, name)
}

func remove(name string) error {
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
