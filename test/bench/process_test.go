package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// resident is a process's resident memory in bytes.
func resident(pid int) int64 {
	for line := range strings.Lines(string(must(os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))))) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	panic(fmt.Sprintf("the memory of process %d cannot be read", pid))
}

// processorTime is what a process has used of the processors.
func processorTime(pid int) time.Duration {
	stat := string(must(os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))))
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const ticks = 100 // a second, on Linux
	user, system := must(strconv.ParseInt(fields[11], 10, 64)), must(strconv.ParseInt(fields[12], 10, 64))
	return time.Duration(user+system) * time.Second / ticks
}
