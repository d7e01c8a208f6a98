package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"

	"github.com/holdfast/holdfast/engine"
	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/test/bench/report"
	"github.com/holdfast/holdfast/test/harness"
)

const (
	connections = 64
	people      = 1000

	watching   = 2000   // clients of /ws
	stalling   = 50     // more of them, which never read
	liveUnits  = 20_000 // sold in a round
	liveRounds = 3

	// Goals. The ratios are of rounds side by side in one run.
	goalLag         = 250 * time.Millisecond // p99 from the commit in Redis to the receipt
	goalIdle        = 40 << 10               // bytes of the server for an idle client
	goalRate        = 0.6                    // reservations/s with watchers : without
	goalStalled     = 1.5                    // p99 with stalled clients : without
	goalStalledGrow = 64 << 20               // bytes of the server for all stalled clients
)

// BenchmarkLive sells a drop at full speed through a server process while
// clients in another process watch it over /ws, and prints how late they were
// told, what that cost the sale, and what a client costs the server. It fails
// when a client ends on a wrong counter or sees a version go back, and when a
// goal is missed.
func BenchmarkLive(b *testing.B) {
	f := newFanOut(b)
	for b.Loop() {
		f.run()
	}
}

// fanOut is a server process, and what is needed to sell and to watch.
type fanOut struct {
	b        *testing.B
	env      *harness.Env
	engine   *engine.Engine
	server   *exec.Cmd
	addr     string
	watchers string // the load client's binary
}

func newFanOut(b *testing.B) *fanOut {
	b.Helper()
	env := harness.New(b)
	dir := b.TempDir()
	for _, name := range []string{"cmd/holdfast", "test/bench/watchers"} {
		out, err := exec.Command("go", "build", "-o", dir, "../../"+name).CombinedOutput()
		if err != nil {
			b.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	store := must(persist.Open(persist.Config{URL: env.DatabaseURL}))
	must(must(persist.NewUsers(persist.UsersConfig{Store: store})).Seed(b.Context(), people, nil))
	store.Close()
	client := must(engine.NewClient(engine.ClientConfig{URL: env.RedisURL}))
	e := must(engine.New(engine.Config{Redis: client, Prefix: env.Prefix}))
	check(b, e.Start(b.Context()))
	b.Cleanup(func() { e.Stop(); check(b, client.Close()) })

	l := must(net.Listen("tcp", "127.0.0.1:0")) // for a free port
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	check(b, l.Close())
	f := &fanOut{b: b, env: env, engine: e, addr: "127.0.0.1:" + port, watchers: filepath.Join(dir, "watchers")}
	f.server = exec.Command(filepath.Join(dir, "holdfast"), "serve", "--host", "127.0.0.1", "--port", port, "--log-level", "warn",
		"--max-sockets-per-address", "10000", "--redis-url", env.RedisURL, "--database-url", env.DatabaseURL, "--prefix", env.Prefix,
		"--identity", "open", "--admin-token", harness.AdminToken)
	f.server.Stdout, f.server.Stderr = os.Stderr, os.Stderr
	f.server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	check(b, f.server.Start())
	b.Cleanup(func() {
		check(b, f.server.Process.Signal(syscall.SIGTERM))
		check(b, f.server.Wait())
	})
	harness.Eventually(b, 20*time.Second, func() error {
		status, _, err := fasthttp.Get(nil, "http://"+f.addr+"/readyz")
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
	return f
}

func median(v []float64) float64 { return report.Series(v).Median() }

func (f *fanOut) run() {
	b := f.b
	empty := f.memory()
	idle := f.watch(f.open(10), 0)
	perClient := (f.settled() - empty) / watching
	idle.end()

	series := func() []float64 { return make([]float64, 0, liveRounds) }
	alone, watched, stalled := series(), series(), series()
	lag, lagStalled := series(), series()
	cpu, frames := series(), series()
	var grown int64
	for range liveRounds {
		alone = append(alone, f.sell(f.open(liveUnits)).rate)

		drop := f.open(liveUnits)
		w := f.watch(drop, 0)
		sold := f.sell(drop)
		seen := w.end()
		watched, cpu = append(watched, sold.rate), append(cpu, sold.cpu)
		lag = append(lag, f.lag(seen, sold).p99)
		frames = append(frames, float64(seen.Frames)/sold.took.Seconds())

		drop = f.open(liveUnits)
		before := f.memory()
		w = f.watch(drop, stalling)
		before = max(before, f.memory())
		sold = f.sell(drop)
		grown = max(grown, f.memory()-before)
		stalled, lagStalled = append(stalled, sold.rate), append(lagStalled, f.lag(w.end(), sold).p99)
	}
	ratio, slow := median(watched)/median(alone), median(lagStalled)/median(lag)
	fmt.Printf("%d units of one drop, reserved and purchased over %d connections; median of %d rounds (all rounds)\n", liveUnits, connections, liveRounds)
	fmt.Printf("  reservations/s without watchers      %8.0f  %.0f\n", median(alone), alone)
	fmt.Printf("  reservations/s with %d watchers    %8.0f  %.0f\n", watching, median(watched), watched)
	fmt.Printf("  ratio                                %8.2f  (goal %.1f)\n", ratio, goalRate)
	fmt.Printf("  p99 from commit to receipt, ms       %8.1f  %.1f (goal %d)\n", median(lag), lag, goalLag.Milliseconds())
	fmt.Printf("  frames/s received                    %8.0f  %.0f\n", median(frames), frames)
	fmt.Printf("  server, cores used                   %8.2f  %.2f\n", median(cpu), cpu)
	fmt.Printf("  server, KiB for an idle client       %8.1f  (goal %d)\n", float64(perClient)/1024, goalIdle>>10)
	fmt.Printf("  with %d more that never read:\n", stalling)
	fmt.Printf("    p99 from commit to receipt, ms     %8.1f  %.1f\n", median(lagStalled), lagStalled)
	fmt.Printf("    ratio to the above                 %8.2f  (goal %.1f)\n", slow, goalStalled)
	fmt.Printf("    reservations/s                     %8.0f  %.0f\n", median(stalled), stalled)
	fmt.Printf("    server, MiB grown in the storm     %8.1f  (bound %d)\n", float64(grown)/(1<<20), goalStalledGrow>>20)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ratio, "watched:alone")
	b.ReportMetric(median(lag), "p99-ms")
	for _, goal := range []struct {
		met  bool
		what string
	}{
		{ratio >= goalRate, "the sale's rate with watchers"},
		{median(lag) <= float64(goalLag.Milliseconds()), "the p99 to receipt"},
		{perClient <= goalIdle, "the memory of an idle client"},
		{slow <= goalStalled, "the p99 with stalled clients"},
		{grown <= goalStalledGrow, "the memory with stalled clients"},
	} {
		if !goal.met {
			b.Errorf("goal missed: %s", goal.what)
		}
	}
}

// settled is the server's memory once it has come to rest.
func (f *fanOut) settled() (memory int64) {
	f.b.Helper()
	harness.Eventually(f.b, 10*time.Second, func() error {
		before := memory
		for range 20 { // Eventually looks again too soon
			memory = max(memory, f.memory())
			time.Sleep(20 * time.Millisecond)
		}
		if memory-before > 1<<20 {
			return fmt.Errorf("the server's memory grows: %d after %d", memory, before)
		}
		return nil
	})
	return memory
}

// open creates a drop through the API.
func (f *fanOut) open(units int) int64 {
	f.b.Helper()
	req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(res)
	req.SetRequestURI("http://" + f.addr + "/api/drops/create")
	req.Header.SetMethod("POST")
	req.Header.SetContentType("application/json")
	req.Header.Set("Authorization", "Bearer "+harness.AdminToken)
	req.SetBodyString(fmt.Sprintf(`{"name":"bench","price":1,"total_stock":%d,"start_time":"2020-01-01T00:00:00Z","hold_seconds":600}`, units))
	check(f.b, fasthttp.Do(req, res))
	var drop struct{ ID int64 }
	if err := json.Unmarshal(res.Body(), &drop); err != nil || drop.ID == 0 {
		f.b.Fatalf("create: %d %s", res.StatusCode(), res.Body())
	}
	return drop.ID
}

// soldOut is how a drop was sold.
type soldOut struct {
	took    time.Duration
	rate    float64 // units reserved and purchased a second
	cpu     float64 // cores that the server used
	version int64   // the last
	commits []int64 // by version: Unix ms of Redis
}

// sell reserves and purchases every unit of the drop.
func (f *fanOut) sell(drop int64) soldOut {
	f.b.Helper()
	ctx, cancel := context.WithCancel(f.b.Context())
	var listening sync.WaitGroup
	subscribed := make(chan struct{}, 1)
	var mu sync.Mutex
	var commits []int64
	listening.Go(func() {
		f.engine.Listen(ctx, engine.EventHandler{
			Resync: func() {
				select {
				case subscribed <- struct{}{}:
				default: // the first is waited for
				}
			},
			Event: func(ev engine.Event) {
				if ev.Drop != drop {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				for int64(len(commits)) <= ev.Version {
					commits = append(commits, 0)
				}
				commits[ev.Version] = ev.At.UnixMilli()
			},
		})
	})
	<-subscribed
	client := &fasthttp.HostClient{Addr: f.addr, MaxConns: connections}
	defer client.CloseIdleConnections()
	var left atomic.Int64
	left.Store(must(f.engine.Stock(ctx, []int64{drop}))[0].Total)
	started, used := time.Now(), f.cpuTime()
	var buyers sync.WaitGroup
	for w := range connections {
		buyers.Go(func() {
			for left.Add(-1) >= 0 {
				f.buy(client, drop, 1+w%people)
			}
		})
	}
	buyers.Wait()
	s := soldOut{took: time.Since(started)}
	s.cpu = (f.cpuTime() - used).Seconds() / s.took.Seconds()
	stock := must(f.engine.Stock(ctx, []int64{drop}))[0]
	if stock.Sold != stock.Total {
		f.b.Fatalf("not all was sold: %+v", stock)
	}
	s.rate, s.version = float64(stock.Sold)/s.took.Seconds(), stock.Version
	harness.Eventually(f.b, 5*time.Second, func() error {
		mu.Lock()
		defer mu.Unlock()
		if int64(len(commits)) <= s.version {
			return fmt.Errorf("%d of %d events", len(commits), s.version)
		}
		return nil
	})
	cancel()
	listening.Wait()
	s.commits = commits
	return s
}

func (f *fanOut) buy(client *fasthttp.HostClient, drop int64, user int) {
	req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(res)
	post := func(path, body string) int64 {
		req.SetRequestURI("http://" + f.addr + path)
		req.Header.SetMethod("POST")
		req.Header.SetContentType("application/json")
		req.SetBodyString(body)
		if err := client.Do(req, res); err != nil || res.StatusCode() != 201 {
			f.b.Errorf("%s: %d %s %v", path, res.StatusCode(), res.Body(), err)
			return 0
		}
		var id int64
		if _, err := fmt.Sscanf(string(res.Body()), `{"id":%d`, &id); err != nil && path == "/api/drops/reserve" {
			f.b.Errorf("%s: %s", path, res.Body())
		}
		return id
	}
	id := post("/api/drops/reserve", fmt.Sprintf(`{"dropId":%d,"userId":%d}`, drop, user))
	if id != 0 {
		post("/api/drops/purchase", fmt.Sprintf(`{"reservationId":%d}`, id))
	}
}

// audience is the load client's process.
type audience struct {
	f    *fanOut
	drop int64
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	path string
}

// seen is what the load client reports.
type seen struct {
	Clients, Right           int
	WentBack, Frames, Closed int64
	Last                     string
	arrivals                 []byte
}

// watch has clients watch the drop, and more that never read.
func (f *fanOut) watch(drop int64, stalled int) *audience {
	f.b.Helper()
	w := &audience{f: f, drop: drop, path: filepath.Join(f.b.TempDir(), "arrivals")}
	w.cmd = exec.Command(f.watchers, "--url", fmt.Sprintf("ws://%s/ws?drops=%d", f.addr, drop), "--out", w.path,
		"--clients", strconv.Itoa(watching), "--stalled", strconv.Itoa(stalled))
	w.cmd.Stderr = os.Stderr
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.in = must(w.cmd.StdinPipe())
	w.out = bufio.NewScanner(must(w.cmd.StdoutPipe()))
	check(f.b, w.cmd.Start())
	if !w.out.Scan() || w.out.Text() != "ready" {
		f.b.Fatalf("watchers: %q", w.out.Text())
	}
	return w
}

// end waits until every client was told the last version, and checks that it
// was told right.
func (w *audience) end() seen {
	b := w.f.b
	b.Helper()
	stock := must(w.f.engine.Stock(b.Context(), []int64{w.drop}))[0]
	_ = must(fmt.Fprintln(w.in, stock.Version))
	var s seen
	if !w.out.Scan() {
		b.Fatalf("watchers ended: %v", w.out.Err())
	}
	check(b, json.Unmarshal(w.out.Bytes(), &s))
	check(b, w.in.Close())
	check(b, w.cmd.Wait())
	s.arrivals = must(os.ReadFile(w.path))
	if stock.Version == 1 { // nothing was told after the snapshot
		return s
	}
	want := fmt.Sprintf(`"available_stock":%d,"held":%d,"sold":%d,`, stock.Available, stock.Held, stock.Sold)
	if s.Right != watching || s.Last != want || s.WentBack > 0 || s.Closed > 0 {
		b.Errorf("%d of %d clients ended right on %s, want %s; %d frames went back; %d were closed",
			s.Right, watching, s.Last, want, s.WentBack, s.Closed)
	}
	return s
}

// lag is how long after its commit each change reached each client.
func (f *fanOut) lag(s seen, sold soldOut) (l struct{ p99 float64 }) {
	h := hdrhistogram.New(1, time.Minute.Milliseconds(), 3)
	told := int64(0)
	for at := 0; at < len(s.arrivals); at += 16 {
		version := int64(binary.LittleEndian.Uint64(s.arrivals[at:]))
		micros := int64(binary.LittleEndian.Uint64(s.arrivals[at+8:]))
		if version == 0 {
			told = 1 // as the snapshot had it
			continue
		}
		for ; told < version; told++ {
			check(f.b, h.RecordValue(max(1, micros/1000-sold.commits[told+1])))
		}
	}
	l.p99 = float64(h.ValueAtQuantile(99))
	return l
}

// memory is the server's resident size in bytes.
func (f *fanOut) memory() int64 { return resident(f.server.Process.Pid) }

// cpuTime is what the server has used of the processors.
func (f *fanOut) cpuTime() time.Duration { return processorTime(f.server.Process.Pid) }
