//go:build unix && !linux

package devservers

import (
	"os/exec"
	"strconv"
	"syscall"
)

// ownGroup puts cmd into a process group of its own. Without parent-death
// signals an orphan is stopped by the next start on its data folder.
func ownGroup(cmd *exec.Cmd, _ syscall.Signal) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}

// commandLine is what the process was started as, or "".
func commandLine(pid int) string {
	out, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return string(out)
}
