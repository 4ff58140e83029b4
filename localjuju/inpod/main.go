// What runs inside pods: one static program, so that it runs in any image as any user.
//
// It is installed under several names, as symbolic links; the name it was called by says what it
// is: the charm container's agent, the Pebble of a workload container, or a hook command.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"localjuju/inpod/agent"
	"localjuju/inpod/hook"
	"localjuju/inpod/pebble"
	"localjuju/inpod/prepare"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case prepare.Agent:
		containerAgent(os.Args[1:])
	case prepare.Pebble:
		os.Exit(pebble.Run(os.Args[1:]))
	default:
		hook.Run(name)
	}
}

// containerAgent is what Juju's program of that name does in a unit's pod.
func containerAgent(arguments []string) {
	if len(arguments) > 0 && arguments[0] == "init" {
		os.Exit(prepare.Main(arguments[1:]))
	}
	if len(arguments) == 1 && arguments[0] == "unit" {
		agent.Run()
		return
	}
	fmt.Fprintln(os.Stderr, "usage: containeragent init|unit")
	os.Exit(2)
}
