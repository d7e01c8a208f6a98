package engine

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// address is what a URL says of where Redis is: one of the three is set.
type address struct {
	single   *redis.Options
	sentinel *redis.FailoverOptions
	cluster  *redis.ClusterOptions
}

const schemes = "redis://, rediss://, unix://, redis-sentinel://, rediss-sentinel://, redis-cluster:// or rediss-cluster://"

// CheckURL says what is wrong with a Redis URL as ClientConfig takes it, or
// nil: ErrInvalid, wrapped, and no password.
func CheckURL(raw string) error {
	_, err := parseURL(raw)
	return err
}

// Check says what is wrong with how Redis is to be reached, or nil: ErrInvalid,
// wrapped, and no password.
func (c ClientConfig) Check() error {
	to, err := parseURL(c.URL)
	if err != nil {
		return err
	}
	return to.secure(c)
}

func parseURL(raw string) (address, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return address{}, fmt.Errorf("%w: Redis URL: it begins with none of %s", ErrInvalid, schemes)
	}
	var a address
	var err error
	switch scheme {
	case "redis", "rediss", "unix":
		a.single, err = parseSingle(raw)
	case "redis-sentinel", "rediss-sentinel":
		a.sentinel, err = parseSentinel(rest)
		if err == nil && scheme == "rediss-sentinel" {
			a.sentinel.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
	case "redis-cluster", "rediss-cluster":
		a.cluster, err = parseCluster(rest)
		if err == nil && scheme == "rediss-cluster" {
			a.cluster.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
	default:
		err = fmt.Errorf("scheme %q: want %s", scheme, schemes)
	}
	if err != nil {
		return address{}, fmt.Errorf("%w: Redis URL: %w", ErrInvalid, err)
	}
	return a, nil
}

// errNoURL stands for the errors of net/url, which quote what they could not
// read, passwords too.
var errNoURL = errors.New("it cannot be read (in a user or password, characters such as / ? # @ % have to be written as %2F and so on)")

func parseSingle(raw string) (*redis.Options, error) {
	if _, err := url.Parse(raw); err != nil {
		return nil, errNoURL
	}
	return redis.ParseURL(raw)
}

// several is the parts of a URL that names several servers, which net/url
// does not read.
type several struct {
	addrs    []string
	user     *url.Userinfo
	path     string
	settings url.Values
}

func parseSeveral(rest, defaultPort string) (several, error) {
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
	}
	hosts := authority[strings.LastIndex(authority, "@")+1:]
	u, err := url.Parse("redis://" + strings.TrimSuffix(authority, hosts) + "several" + strings.TrimPrefix(rest, authority))
	if err != nil || u.Fragment != "" {
		return several{}, errNoURL
	}
	s := several{user: u.User, path: strings.Trim(u.Path, "/")}
	if s.settings, err = url.ParseQuery(u.RawQuery); err != nil {
		return several{}, errNoURL
	}
	for i, host := range strings.Split(hosts, ",") {
		addr, err := hostPort(host, defaultPort)
		if err != nil {
			return several{}, fmt.Errorf("address %d, %q: %w", i+1, host, err)
		}
		s.addrs = append(s.addrs, addr)
	}
	return s, nil
}

func hostPort(s, defaultPort string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil { // without a port
		host, port = strings.Trim(s, "[]"), defaultPort
		if strings.Contains(host, ":") && !strings.HasPrefix(s, "[") {
			return "", errors.New("want host:port")
		}
	}
	if host == "" {
		return "", errors.New("no host")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", errors.New("the port is not in 1 … 65535")
	}
	return net.JoinHostPort(host, port), nil
}

// only refuses settings that are none of the names.
func (s several) only(names ...string) error {
	for name := range s.settings {
		if !slices.Contains(names, name) {
			return fmt.Errorf("there is no setting %q", name)
		}
	}
	return nil
}

func parseSentinel(rest string) (*redis.FailoverOptions, error) {
	s, err := parseSeveral(rest, "26379")
	if err != nil {
		return nil, err
	}
	o := &redis.FailoverOptions{
		SentinelAddrs: s.addrs, MasterName: s.settings.Get("master"), Username: s.user.Username(),
		SentinelUsername: s.settings.Get("sentinel_user"), SentinelPassword: s.settings.Get("sentinel_password"),
	}
	o.Password, _ = s.user.Password()
	if o.MasterName == "" {
		return nil, errors.New("it names no primary: want ?master=name, as the Sentinels know it")
	}
	if s.path != "" {
		if o.DB, err = strconv.Atoi(s.path); err != nil || o.DB < 0 {
			return nil, fmt.Errorf("database %q is no number", s.path)
		}
	}
	return o, s.only("master", "sentinel_user", "sentinel_password")
}

func parseCluster(rest string) (*redis.ClusterOptions, error) {
	s, err := parseSeveral(rest, "6379")
	if err != nil {
		return nil, err
	}
	if s.path != "" && s.path != "0" {
		return nil, fmt.Errorf("database %q: a cluster has no databases", s.path)
	}
	o := &redis.ClusterOptions{Addrs: s.addrs, Username: s.user.Username()}
	o.Password, _ = s.user.Password()
	return o, s.only()
}
