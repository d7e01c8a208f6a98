package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast/holdfast/test/harness"
)

const jwtSecret = "a-secret-of-these-tests-32-bytes"

// TestServeHasToBeToldWhoIsWho: there is no identity and no admin token that an
// instance takes by itself.
func TestServeHasToBeToldWhoIsWho(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	for _, c := range []struct {
		env  []string
		says []string
	}{
		{[]string{"HOLDFAST_IDENTITY=", "HOLDFAST_ADMIN_TOKEN="}, []string{"HOLDFAST_IDENTITY", "Choose jwt", "or open", "HOLDFAST_ADMIN_TOKEN", "openssl rand"}},
		{[]string{"HOLDFAST_IDENTITY=closed", "HOLDFAST_ADMIN_TOKEN=short-and-secret"}, []string{`"closed"`, "fewer than 32"}},
		{[]string{"HOLDFAST_IDENTITY=jwt"}, []string{"HOLDFAST_JWT_SECRET", "HOLDFAST_JWKS"}},
		{[]string{"HOLDFAST_IDENTITY=jwt", "HOLDFAST_JWT_SECRET=short-and-secret"}, []string{"HOLDFAST_JWT_SECRET", "fewer than 32"}},
		{[]string{"HOLDFAST_IDENTITY=open", "HOLDFAST_JWT_ISSUER=me"}, []string{"would do nothing"}},
		{[]string{"HOLDFAST_IDENTITY=jwt", "HOLDFAST_JWKS=/does/not/exist"}, []string{"JWKS", "no such file"}},
		{[]string{"HOLDFAST_ADMIN_ADDR=9000"}, []string{"HOLDFAST_ADMIN_ADDR", "HOST:PORT"}},
	} {
		printed, status := run(t, append(d.env(), c.env...), "serve", "--host", "127.0.0.1", "--port", harness.FreePort(t))
		if status != 1 || strings.Contains(printed, "short-and-secret") {
			t.Errorf("%v: ended with %d:\n%s", c.env, status, printed)
		}
		contains(t, printed, c.says...)
	}
}

// TestServeWithTokens runs an instance that tells buyers by tokens, with
// operators at an address of their own.
func TestServeWithTokens(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	port, back := harness.FreePort(t), "127.0.0.1:"+harness.FreePort(t)
	p := command(t, append(d.env(),
		"HOLDFAST_IDENTITY=jwt", "HOLDFAST_JWT_SECRET="+jwtSecret, "HOLDFAST_JWT_ISSUER=me", "HOLDFAST_ADMIN_ADDR="+back, "HOLDFAST_LOG_LEVEL=debug",
	), "serve", "--host", "127.0.0.1", "--port", port)
	p.URL = "http://127.0.0.1:" + port
	p.Start()
	p.Ready()
	front := newShop(t, p)
	operator := newShop(t, p)
	operator.urls = []string{"http://" + back}

	var ready struct{ Identity string }
	if a := front.call("GET", "/readyz", nil, &ready); ready.Identity != "jwt" {
		t.Errorf("ready: %v", a)
	}
	for _, path := range []string{"/metrics", "/debug/pprof/heap", "/console", "/api/admin/figures?drop=1"} {
		if a := front.call("GET", path, nil, nil); a.status != http.StatusNotFound {
			t.Errorf("%s at the front: %v", path, a)
		}
	}
	id := operator.open(3, nil)
	if a := operator.call("GET", fmt.Sprint("/api/admin/figures?drop=", id), nil, nil); a.status != http.StatusOK {
		t.Errorf("figures at the back: %v", a)
	}
	token := func(sub string, valid time.Duration) string {
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": sub, "iss": "me", "exp": time.Now().Add(valid).Unix()}).
			SignedString([]byte(jwtSecret))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	ada, bob, old := token("ada", time.Hour), token("bob", time.Hour), token("ada", -time.Hour)
	as := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
	var r reservation
	if a := front.call("POST", "/api/drops/reserve", object{"dropId": id}, &r, as(ada)...); a.status != http.StatusCreated {
		t.Fatalf("reserve: %v", a)
	}
	purchase := object{"reservationId": r.ID}
	for _, c := range []struct {
		token  string
		status int
	}{{old, 401}, {harness.AdminToken, 401}, {bob, 404}, {ada, 201}, {bob, 404}, {ada, 200}} {
		if a := front.call("POST", "/api/drops/purchase", purchase, nil, as(c.token)...); a.status != c.status {
			t.Errorf("purchase: %v, want %d", a, c.status)
		}
	}
	if status := p.Terminate(); status != 0 {
		t.Errorf("ended with %d", status)
	}
	contains(t, p.Log(), "identity=jwt", back, "HOLDFAST_JWT_AUDIENCE is not set")
	for _, secret := range []string{jwtSecret, harness.AdminToken, ada, old} {
		if strings.Contains(p.Log(), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
}
