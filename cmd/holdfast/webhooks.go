package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast/holdfast/persist"
	"github.com/holdfast/holdfast/persist/webhook"
)

// webhookFlags say who is told of events.
type webhookFlags struct {
	Webhooks       []string      `env:"HOLDFAST_WEBHOOKS" placeholder:"URL[#EVENT+…]" help:"Receivers of webhooks; each may name the events that it hears of: purchase.completed, reservation.expired, drop.sold_out. The same for every instance."`
	WebhookSecret  string        `env:"HOLDFAST_WEBHOOK_SECRET" secret:"" placeholder:"whsec_…" help:"Signs webhooks; several with blanks between them while receivers change over."`
	WebhookAllow   []string      `env:"HOLDFAST_WEBHOOK_ALLOW" placeholder:"CIDR" help:"Networks that webhooks may be sent to although they are private, and the only ones they may be sent to over http."`
	WebhookTimeout time.Duration `env:"HOLDFAST_WEBHOOK_TIMEOUT" default:"10s" help:"What a receiver may take for its answer."`
}

func (f webhookFlags) validate() error {
	if len(f.Webhooks) == 0 {
		return nil
	}
	var errs []error
	allow, err := f.networks()
	if err != nil {
		errs = append(errs, fmt.Errorf("HOLDFAST_WEBHOOK_ALLOW (--webhook-allow): %w", err))
	}
	receivers, err := f.receivers()
	if err == nil {
		err = webhook.CheckReceivers(receivers, len(allow) > 0)
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("HOLDFAST_WEBHOOKS (--webhooks): %w", err))
	}
	secrets := f.secrets()
	if len(secrets) == 0 {
		errs = append(errs, errors.New("HOLDFAST_WEBHOOK_SECRET (--webhook-secret) is not set"))
	}
	for _, s := range secrets {
		if err := webhook.CheckSecret(s); err != nil {
			errs = append(errs, fmt.Errorf("HOLDFAST_WEBHOOK_SECRET (--webhook-secret): %w", err))
		}
	}
	if f.WebhookTimeout < 100*time.Millisecond || f.WebhookTimeout > time.Minute {
		errs = append(errs, fmt.Errorf("HOLDFAST_WEBHOOK_TIMEOUT (--webhook-timeout): %v is not in 100ms … 1m", f.WebhookTimeout))
	}
	return errors.Join(errs...)
}

func (f webhookFlags) receivers() ([]webhook.Receiver, error) {
	all := make([]webhook.Receiver, 0, len(f.Webhooks))
	for _, text := range f.Webhooks {
		r, err := webhook.ParseReceiver(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

func (f webhookFlags) secrets() []string { return strings.Fields(f.WebhookSecret) }

func (f webhookFlags) networks() ([]netip.Prefix, error) {
	all := make([]netip.Prefix, 0, len(f.WebhookAllow))
	for _, text := range f.WebhookAllow {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// subscriptions are what those who write events have to know of them.
func (f webhookFlags) subscriptions() ([]persist.Subscription, error) {
	receivers, err := f.receivers()
	return webhook.Subscriptions(receivers), err
}

// sender makes what tells them; nil where there are none.
func (f webhookFlags) sender(store *persist.Store, log *slog.Logger, metrics prometheus.Registerer) (*webhook.Sender, error) {
	if len(f.Webhooks) == 0 {
		return nil, nil //nolint:nilnil // nothing to send, nothing wrong
	}
	receivers, err := f.receivers()
	if err != nil {
		return nil, err
	}
	allow, err := f.networks()
	if err != nil {
		return nil, err
	}
	for _, r := range receivers {
		log.Info("webhooks are sent", "receiver", r.Host(), "events", r.Events, "tls", !r.Plain())
	}
	return webhook.New(webhook.Config{
		Store: store, Receivers: receivers, Secrets: f.secrets(), Allow: allow, Timeout: f.WebhookTimeout, Log: log, Metrics: metrics,
	})
}

type webhooksCommand struct {
	DatabaseURL string  `env:"HOLDFAST_DATABASE_URL" secret:"" placeholder:"URL" help:"Postgres, such as postgres://user:password@127.0.0.1:5432/holdfast."`
	Most        int     `default:"100" help:"List at most so many of those that were given up."`
	Resend      []int64 `placeholder:"ID" help:"Send these deliveries once more."`
	ResendDead  bool    `help:"Send everything once more that was given up."`
	JSON        bool    `name:"json" help:"Print one JSON object."`
}

// Help is shown by --help.
func (*webhooksCommand) Help() string {
	return `Shows what waits for each receiver of webhooks, and the deliveries that were given up, the newest first. With --resend or --resend-dead it has deliveries sent once more, at once and with all their tries; an instance with the role writer sends them.`
}

// deadLine is a delivery that was given up, as it is printed.
type deadLine struct {
	ID       int64     `json:"id"`
	Event    string    `json:"event"`
	Type     string    `json:"type"`
	URL      string    `json:"url"`
	Attempts int       `json:"attempts"`
	Error    string    `json:"error"`
	GivenUp  time.Time `json:"given_up_at"`
}

// receiverLine is what waits for a receiver, as it is printed.
type receiverLine struct {
	URL     string  `json:"url"`
	Waiting int64   `json:"waiting"`
	Oldest  float64 `json:"oldest_seconds"`
	Dead    int64   `json:"dead"`
}

// Run lists or resends.
func (c *webhooksCommand) Run(ctx context.Context) error {
	err := validDatabaseURL(c.DatabaseURL)
	if c.Most < 1 || c.Most > 1000 {
		err = errors.Join(err, fmt.Errorf("--most: %d is not in 1 … 1000", c.Most))
	}
	if err != nil {
		return err
	}
	store, err := persist.Open(persist.Config{URL: c.DatabaseURL, MaxConns: 1})
	if err != nil {
		return err
	}
	defer store.Close()
	if len(c.Resend) > 0 || c.ResendDead {
		return c.resend(ctx, store)
	}
	counts, err := store.DeliveryCounts(ctx)
	if err != nil {
		return err
	}
	dead, err := store.DeadDeliveries(ctx, c.Most, 0)
	if err != nil {
		return err
	}
	receivers, lines := make([]receiverLine, len(counts)), make([]deadLine, len(dead))
	for i, n := range counts {
		receivers[i] = receiverLine{n.URL, n.Waiting, n.Oldest.Seconds(), n.Dead}
	}
	for i, d := range dead {
		lines[i] = deadLine{d.ID, d.Event.ID, d.Type, d.URL, d.Attempts, d.Error, d.Ended}
	}
	return c.print(receivers, lines)
}

func (c *webhooksCommand) resend(ctx context.Context, store *persist.Store) error {
	var errs []error
	note := func(after any) {
		_, err := store.WriteAct(ctx, persist.NewAct{By: persist.By{Who: "cli"}, Action: "resend", After: after})
		errs = append(errs, err)
	}
	for _, id := range c.Resend {
		if err := store.Resend(ctx, id); err != nil {
			errs = append(errs, err)
			continue
		}
		note(map[string]int64{"delivery": id})
		fmt.Printf("Delivery %d is sent once more.\n", id)
	}
	if c.ResendDead {
		n, err := store.ResendDead(ctx)
		errs = append(errs, err)
		if n > 0 {
			note(map[string]any{"deliveries": n})
		}
		fmt.Printf("%d deliveries are sent once more.\n", n)
	}
	return errors.Join(errs...)
}

func (c *webhooksCommand) print(receivers []receiverLine, dead []deadLine) error {
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(struct {
			Receivers []receiverLine `json:"receivers"`
			Dead      []deadLine     `json:"dead"`
		}{receivers, dead})
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "RECEIVER\tWAITING\tOLDEST\tDEAD")
	for _, r := range receivers {
		oldest := (time.Duration(r.Oldest) * time.Second).String()
		_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%d\n", r.URL, r.Waiting, oldest, r.Dead)
	}
	if len(dead) > 0 {
		_, _ = fmt.Fprintln(w, "\nDELIVERY\tEVENT\tRECEIVER\tATTEMPTS\tGIVEN UP\tERROR")
	}
	for _, d := range dead {
		_, _ = fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%s\t%s\n", d.ID, d.Event, d.URL, d.Attempts, d.GivenUp.Format(time.RFC3339), d.Error)
	}
	return w.Flush()
}
