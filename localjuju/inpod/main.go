// What runs inside pods: one static program, so that it runs in any image as any user.
//
// It is installed under several names, as symbolic links; the name it was called by says what it
// is: the charm container's agent, the Pebble of a workload container, or a hook command.
package main

import (
	"os"
	"path/filepath"

	"localjuju/inpod/agent"
	"localjuju/inpod/hook"
	"localjuju/inpod/pebble"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "container-agent":
		agent.Run()
	case "pebble":
		os.Exit(pebble.Run(os.Args[1:]))
	default:
		hook.Run(name)
	}
}
