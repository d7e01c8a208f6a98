package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

type healthcheckCommand struct {
	URL  string `help:"Base address of the instance; by default the port on this machine."`
	Port int    `env:"HOLDFAST_PORT,PORT" default:"3000" help:"Port of the instance."`
}

// Run asks /readyz.
func (c *healthcheckCommand) Run(ctx context.Context) error {
	url := c.URL
	if url == "" {
		url = fmt.Sprintf("http://127.0.0.1:%d", c.Port)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", res.Status)
	}
	return nil
}
