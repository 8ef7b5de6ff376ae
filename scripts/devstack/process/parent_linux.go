package process

import "syscall"

// bindToParent has the kernel send sig to the child when the forking thread ends.
func bindToParent(attr *syscall.SysProcAttr, sig syscall.Signal) {
	attr.Pdeathsig = sig
}

// watchParent has nothing to do where the kernel watches.
func watchParent(int, syscall.Signal) (release func(), err error) {
	return func() {}, nil
}
