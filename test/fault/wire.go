package fault

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// network is all wires of a world.
type network struct {
	t      testing.TB
	server *toxiproxy.ApiServer // without its API: the wires are used as a library
}

func newNetwork(t testing.TB) *network {
	t.Helper()
	// Some toxics tell the library's own logger of each connection they end.
	zerolog.SetGlobalLevel(zerolog.Disabled)
	return &network{t: t, server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())}
}

// wire is one link, which can be made slow, narrow and treacherous.
type wire struct {
	name  string
	proxy *toxiproxy.Proxy
}

// wire lays one to the server at addr, until the end of the test.
func (n *network) wire(name, addr string) *wire {
	n.t.Helper()
	w := &wire{name: name, proxy: toxiproxy.NewProxy(n.server, name, "127.0.0.1:0", addr)}
	if err := w.proxy.Start(); err != nil {
		n.t.Fatalf("%s: %v", name, err)
	}
	n.t.Cleanup(w.proxy.Stop)
	return w
}

func (w *wire) addr() string { return w.proxy.Listen }

// toxic is one thing that is wrong with a wire, as toxiproxy names it.
type toxic struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Stream     string         `json:"stream"`   // downstream: what the server answers
	Toxicity   float32        `json:"toxicity"` // share of the connections
	Attributes map[string]any `json:"attributes"`
}

func (w *wire) add(t toxic) error {
	raw, err := json.Marshal(t)
	if err != nil {
		return err
	}
	_, err = w.proxy.Toxics.AddToxicJson(strings.NewReader(string(raw)))
	return err
}

func (w *wire) remove(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return w.proxy.Toxics.RemoveToxic(ctx, name)
}
