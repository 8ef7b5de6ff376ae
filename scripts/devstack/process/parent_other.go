//go:build !linux

package process

import "syscall"

// bindToParent has no counterpart here: watchParent does it.
func bindToParent(*syscall.SysProcAttr, syscall.Signal) {}

func watchParent(pid int, sig syscall.Signal) (release func(), err error) {
	return watchByPipe(pid, sig)
}
