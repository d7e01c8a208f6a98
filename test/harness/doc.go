// Package harness gives tests their real servers: one Redis and one Postgres
// a test binary, started by the first test that asks and stopped when the
// binary ends. They are servers named by the environment, Docker containers or
// binaries of the machine; see [EnvServers].
//
//	func TestMain(m *testing.M) {
//		harness.Main(m, harness.Options{Migrate: persist.Migrate})
//	}
//
//	func TestSale(t *testing.T) {
//		t.Parallel()
//		env := harness.New(t)
//		// env.RedisURL with keys below env.Prefix, env.DatabaseURL
//	}
//
// Tests that stop or kill a server take private ones from [Own]; tests of what
// a broken connection does put a [Proxy] before a server. [OwnSentinel] and
// [OwnCluster] start several Redis servers that replace one another.
package harness
