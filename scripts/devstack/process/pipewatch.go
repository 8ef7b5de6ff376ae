package process

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"syscall"
)

// watchByPipe starts a shell that sends sig to pid once its standard input is
// closed, which happens at the latest when this process ends. release ends the
// shell without a signal being sent.
func watchByPipe(pid int, sig syscall.Signal) (release func(), err error) {
	script := `read -r line && exit 0; kill -"$1" "$2" 2>/dev/null`
	cmd := exec.CommandContext(context.Background(), "/bin/sh", "-c", script, "sh", strconv.Itoa(int(sig)), strconv.Itoa(pid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("watch for this process's end: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("watch for this process's end: %w", err)
	}
	return func() {
		_, _ = io.WriteString(stdin, "released\n")
		_ = cmd.Wait()
	}, nil
}
