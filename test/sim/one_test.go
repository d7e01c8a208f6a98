package sim

import (
	"os"
	"strconv"
	"testing"
)

func TestOne(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("SEED"))
	w := &World{}
	t.Log(w.Shrink(uint64(n), Options{}))
}
