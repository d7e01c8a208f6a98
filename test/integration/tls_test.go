package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast/test/harness"
)

// TestTLS sells over TLS to both stores, by users with passwords, and finds
// that nothing less is taken.
func TestTLS(t *testing.T) { //nolint:tparallel // the subtests are of one deployment
	t.Parallel()
	secure := harness.Secure(t)
	d := deploymentOn(t, &secure.Env)
	const password = "p:a/s@s w%rd"
	if err := d.redis.Do(t.Context(), "ACL", "SETUSER", "seller", "on", ">"+password, "~*", "&*", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	secure.SQL(`CREATE ROLE seller LOGIN SUPERUSER PASSWORD '` + password + `'`)

	d.redisURL, d.databaseURL = secure.SecureRedisURL("seller", password), secure.SecureDatabaseURL("seller", password, secure.CAFile)
	d.extra = []string{"HOLDFAST_REDIS_CA=" + secure.CAFile, "HOLDFAST_REDIS_CERT=" + secure.CertFile, "HOLDFAST_REDIS_KEY=" + secure.KeyFile}
	if printed, status := d.run(t, "migrate"); status != 0 {
		t.Fatalf("migrate ended with %d:\n%s", status, printed)
	}
	s := newShop(t, d.serve(t))
	person := d.people(t, 1)[0]
	id := s.open(2, object{"hold_seconds": 3})
	s.mustBuy(s.mustReserve(object{"dropId": id, "userId": person}).ID)
	s.mustReserve(object{"dropId": id, "userId": person})
	harness.Eventually(t, 20*time.Second, func() error { return s.stockIs(id, 1, 0, 1) })
	d.balanced(t)
	d.want(t, 0, `SELECT count(*) FROM pg_stat_activity AS a JOIN pg_stat_ssl AS s USING (pid) WHERE a.usename = 'seller' AND NOT s.ssl`)

	for name, c := range map[string]struct {
		change func(d *deployment)
		says   string
	}{
		"Redis's certificate is of another authority":          {func(d *deployment) { d.extra[0] = "HOLDFAST_REDIS_CA=" + secure.StrangerCAFile }, "certificate signed by unknown authority"},
		"Redis's certificate is of none that the system knows": {func(d *deployment) { d.extra = d.extra[1:] }, "certificate signed by unknown authority"},
		"Redis sees no certificate":                            {func(d *deployment) { d.extra = d.extra[:1] }, "Redis:"},
		"Redis's password":                                     {func(d *deployment) { d.redisURL = secure.SecureRedisURL("seller", "wrong") }, "WRONGPASS"},
		"certificates and no TLS": {func(d *deployment) {
			d.redisURL = strings.Replace(d.redisURL, "rediss:", "redis:", 1)
		}, "rediss://"},
		"no such file": {func(d *deployment) { d.extra[0] = "HOLDFAST_REDIS_CA=/no/such/file" }, "/no/such/file"},
		"Postgres's certificate is of another authority": {func(d *deployment) {
			d.databaseURL = secure.SecureDatabaseURL("seller", password, secure.StrangerCAFile)
		}, "certificate signed by unknown authority"},
		"Postgres's password": {func(d *deployment) {
			d.databaseURL = secure.SecureDatabaseURL("seller", "wrong", secure.CAFile)
		}, "password authentication failed"},
		"Postgres without TLS": {func(d *deployment) {
			d.databaseURL = strings.Replace(d.databaseURL, "sslmode=verify-full", "sslmode=disable", 1)
		}, "no pg_hba.conf entry"},
	} {
		t.Run(name, func(t *testing.T) {
			other := *d
			other.extra = append([]string{}, d.extra...)
			c.change(&other)
			printed, status := other.run(t, "audit")
			if status != 1 {
				t.Errorf("audit ended with %d", status)
			}
			contains(t, printed, c.says)
			if strings.Contains(printed, password) || strings.Contains(printed, "p%3Aa") {
				t.Errorf("the password is in:\n%s", printed)
			}
		})
	}
}
