package integration

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The attackers run as a process of their own, of a low priority: what they
// compute would else be taken for what they do to the server.

// attackEnv has the name of an attack and the server's address; the test binary
// attacks then, in place of its tests.
const attackEnv = "HOLDFAST_TEST_ATTACK"

// attackTime is how long an attack lasts that nobody ends before.
const attackTime = 2 * time.Minute

// atWork is what an attacker prints once it is.
const atWork = "at work"

// attack runs one and does not return.
func attack(spec string) {
	name, target, _ := strings.Cut(spec, "=")
	ctx, cancel := context.WithTimeout(context.Background(), attackTime)
	defer cancel()
	a := &attacker{target: target}
	var running sync.WaitGroup
	if name == "bot" {
		a.bot(ctx, running.Go)
	} else {
		attacks[name](ctx, a, running.Go)
	}
	fmt.Println(atWork)
	running.Wait()
	fmt.Printf("%d connections, %d refused\n", a.made.Load(), a.refused.Load())
	os.Exit(0)
}

type attacker struct {
	target        string
	made, refused atomic.Int64
}

// attacks begin with run what goes on until ctx ends.
var attacks = map[string]func(ctx context.Context, a *attacker, run func(func())){
	// Sockets that send a byte of a request a second, for ever.
	"slowloris": func(ctx context.Context, a *attacker, run func(func())) {
		const sockets = 500
		for range sockets {
			run(func() {
				a.again(ctx, func(c net.Conn) error {
					for i := 0; ; i++ {
						if _, err := c.Write([]byte{"POST /api/drops/reserve HTTP/1.1\r\nX-Slow: "[min(i, 42)]}); err != nil {
							return err
						}
						if !pause(ctx, time.Second) {
							return nil
						}
					}
				})
			})
		}
	},
	// Sockets that say nothing, from many addresses: of one not so many are let in.
	"idle sockets": func(ctx context.Context, a *attacker, run func(func())) {
		const addresses = 20
		var opening sync.WaitGroup
		for i := range addresses {
			opening.Go(func() {
				for range idleSockets() / addresses {
					c, err := a.dial(ctx, fmt.Sprintf("127.0.7.%d", i+1))
					if err != nil {
						continue
					}
					run(func() { defer c.Close(); <-ctx.Done() })
				}
			})
		}
		opening.Wait()
	},
	// Bodies of 1 MB.
	"great bodies": func(ctx context.Context, a *attacker, run func(func())) {
		body := "POST /api/drops/reserve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1048576\r\n\r\n" +
			strings.Repeat("x", 1<<20)
		a.flood(ctx, run, 16, body, 1)
	},
	// Headers without an end.
	"headers": func(ctx context.Context, a *attacker, run func(func())) {
		var headers strings.Builder
		headers.WriteString("GET /api/drops HTTP/1.1\r\nHost: x\r\n")
		for i := range 20_000 {
			fmt.Fprintf(&headers, "X-Header-%d: %d\r\n", i, i)
		}
		a.flood(ctx, run, 16, headers.String(), 1)
	},
	// JSON as deep as a body may be.
	"deep JSON": func(ctx context.Context, a *attacker, run func(func())) {
		const depth = 15 << 10
		body := fmt.Sprintf("POST /api/drops/reserve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			depth, strings.Repeat("[", depth))
		a.flood(ctx, run, 16, body, 1000)
	},
	// Connections that are closed at once, 20,000 a second if the machine can.
	"connections": func(ctx context.Context, a *attacker, run func(func())) {
		const perSecond, workers, step = 20_000, 32, 10 * time.Millisecond
		for range workers {
			run(func() {
				for ctx.Err() == nil {
					began := time.Now()
					for range perSecond * int(step/time.Millisecond) / 1000 / workers {
						if c, err := a.dial(ctx, attackAddress); err == nil {
							_ = c.(*net.TCPConn).SetLinger(0) // or this machine runs out of ports
							_ = c.Close()
						}
					}
					pause(ctx, step-time.Since(began))
				}
			})
		}
	},
}

const attackAddress = "127.0.0.66"

// idleSockets is 10,000, or as many as a process may have.
func idleSockets() int {
	const most, others = 10_000, 500
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return most
	}
	return min(most, int(files.Cur)-others)
}

// beenLimited is what a bot prints when it first meets a limit.
const beenLimited = "over a limit"

// bot is one person who reserves and buys over 200 connections from 50
// addresses, as a proxy tells them, almost without a pause. Its target is host:port/drop/user.
func (a *attacker) bot(ctx context.Context, run func(func())) {
	const connections, addresses, rest = 200, 50, 20 * time.Millisecond
	host, order, _ := strings.Cut(a.target, "/")
	drop, user, _ := strings.Cut(order, "/")
	a.target = host
	var limited sync.Once
	for i := range connections {
		call := func(path, body string) string {
			return fmt.Sprintf("POST /api/drops/%s HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
				path, i%addresses+1, len(body), body)
		}
		run(func() {
			answer := make([]byte, 4<<10)
			a.again(ctx, func(c net.Conn) error {
				next := call("reserve", fmt.Sprintf(`{"dropId":%s,"userId":%s}`, drop, user))
				for {
					if _, err := c.Write([]byte(next)); err != nil {
						return err
					}
					n, err := c.Read(answer)
					if err != nil {
						return err
					}
					got := string(answer[:n])
					if strings.Contains(got, "rate_limited") {
						limited.Do(func() { fmt.Println(beenLimited) })
					}
					next = call("reserve", fmt.Sprintf(`{"dropId":%s,"userId":%s}`, drop, user))
					if _, held, ok := strings.Cut(got, `{"id":`); ok && strings.Contains(got, `"status":"active"`) {
						id, _, _ := strings.Cut(held, ",")
						next = call("purchase", `{"reservationId":`+id+`}`)
					}
					if !pause(ctx, rest) {
						return nil
					}
				}
			})
		})
	}
}

// flood sends a request over and over, on new connections after some each.
func (a *attacker) flood(ctx context.Context, run func(func()), workers int, request string, perConnection int) {
	for range workers {
		run(func() {
			answer := make([]byte, 4<<10)
			a.again(ctx, func(c net.Conn) error {
				for range perConnection {
					if _, err := c.Write([]byte(request)); err != nil {
						return err
					}
					if _, err := c.Read(answer); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}

// again gives do one connection after the other.
func (a *attacker) again(ctx context.Context, do func(net.Conn) error) {
	for ctx.Err() == nil {
		c, err := a.dial(ctx, attackAddress)
		if err != nil {
			pause(ctx, time.Millisecond)
			continue
		}
		_ = c.SetDeadline(time.Now().Add(15 * time.Second))
		if err := do(c); err != nil {
			a.refused.Add(1)
			pause(ctx, time.Millisecond) // a reset comes back at once
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

func (a *attacker) dial(ctx context.Context, from string) (net.Conn, error) {
	a.made.Add(1)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	return d.DialContext(ctx, "tcp", a.target)
}

// pause waits, and says whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		runtime.Gosched()
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
