// What runs inside pods: one static program, so that it runs in any image as any user.
//
// It is installed under several names, as symbolic links; the name it was called by says what it
// is: the charm container's agent, or a hook command.
package main

import (
	"os"
	"path/filepath"

	"localjuju/inpod/agent"
	"localjuju/inpod/hook"
)

func main() {
	switch name := filepath.Base(os.Args[0]); name {
	case "container-agent":
		agent.Run()
	default:
		hook.Run(name)
	}
}
