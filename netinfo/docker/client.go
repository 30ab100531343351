package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"
)

// Sentinels that callers branch on.
var (
	// ErrNone means that no engine's socket is here and DOCKER_HOST is not set.
	ErrNone = errors.New("no container engine found")
	// ErrSlow means that the engine took longer to answer than a call may take.
	ErrSlow = errors.New("engine answers slowly")
)

// callTimeout bounds one request. An engine that is busy pulling images or
// starting hundreds of containers still answers a list well within it.
const callTimeout = 3 * time.Second

// Client talks to one engine. It only reads. It is safe for concurrent use,
// except that Close must come last.
type Client struct {
	api  *client.Client
	host string

	mu sync.Mutex
	// inspected remembers what does not change while a container runs, so that
	// one event on a host with 200 containers costs one inspection, not 200.
	inspected map[string]details
	// generation counts invalidations: an inspection that was under way
	// during one is not remembered.
	generation uint64
	engine     *Engine
	named      []Named // that of the newest event last
}

// Candidates returns the addresses where an engine may listen, in the order in
// which Open tries them: DOCKER_HOST alone if it is set, else Docker's and
// Podman's default sockets as far as they exist.
func Candidates() []string {
	if h := os.Getenv(client.EnvOverrideHost); h != "" {
		return []string{h}
	}
	var hosts []string
	for _, path := range []string{"/var/run/docker.sock", "/run/podman/podman.sock"} {
		if isSocket(path) {
			hosts = append(hosts, "unix://"+path)
		}
	}
	return hosts
}

// RootlessCandidates returns the sockets of engines that the invoking user
// runs without root. Open does not try them: which of several engines is meant
// is the user's to say, with DOCKER_HOST.
func RootlessCandidates() []string {
	uid := os.Getenv("SUDO_UID")
	if uid == "" {
		uid = fmt.Sprint(os.Getuid())
	}
	if uid == "0" || uid == "-1" {
		return nil
	}
	var hosts []string
	for _, path := range []string{"/run/user/" + uid + "/docker.sock", "/run/user/" + uid + "/podman/podman.sock"} {
		if isSocket(path) {
			hosts = append(hosts, "unix://"+path)
		}
	}
	return hosts
}

func isSocket(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode()&os.ModeSocket != 0
}

// Open connects to the engine at host, an address as in DOCKER_HOST; an empty
// host means the first of Candidates that answers. Its errors match ErrNone
// when there is no candidate, ErrSlow when the engine took too long, and
// os.ErrPermission when its socket may not be used. When an engine is there
// but does not answer now, Open returns a Client as well as the error: it can
// be used once the engine is back.
func Open(ctx context.Context, host string) (*Client, error) {
	hosts := []string{host}
	if host == "" {
		if hosts = Candidates(); len(hosts) == 0 {
			return nil, ErrNone
		}
	}
	var first *Client
	var firstErr error
	for _, h := range hosts {
		c, err := dial(h)
		if err == nil {
			if err = c.ping(ctx); err == nil {
				if first != nil {
					first.Close()
				}
				return c, nil
			}
		}
		if firstErr == nil {
			first, firstErr = c, err
		} else if c != nil {
			c.Close()
		}
	}
	return first, firstErr
}

func dial(host string) (*Client, error) {
	// The host comes last: FromEnv reads TLS files and the API version, and
	// DOCKER_HOST again.
	api, err := client.New(client.FromEnv, client.WithHost(host), client.WithUserAgent("natlens"))
	if err != nil {
		return nil, fmt.Errorf("open engine %s: %w", host, err)
	}
	return &Client{api: api, host: host, inspected: map[string]details{}}, nil
}

func (c *Client) ping(ctx context.Context) error {
	return c.call(ctx, "open", func(ctx context.Context) error {
		_, err := c.api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
		return err
	})
}

// Host returns the address of the engine, as in DOCKER_HOST.
func (c *Client) Host() string { return c.host }

// Close releases the idle connections. A request under way ends with its
// context.
func (c *Client) Close() {
	// The only thing that Close of the library does is to drop idle
	// connections, which cannot fail.
	_ = c.api.Close()
}

// call runs one request with a deadline of its own and gives its error a path.
func (c *Client) call(ctx context.Context, verb string, request func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := request(bounded)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case bounded.Err() != nil:
		return fmt.Errorf("%s engine %s: %w", verb, c.host, ErrSlow)
	case client.IsErrConnectionFailed(err):
		err = c.cause(ctx, err)
	}
	return fmt.Errorf("%s engine %s: %w", verb, c.host, err)
}

// cause finds out why a Unix socket could not be connected to: the library
// hides the kernel's error behind a text of its own.
func (c *Client) cause(ctx context.Context, err error) error {
	path, ok := strings.CutPrefix(c.host, "unix://")
	if !ok {
		return err
	}
	conn, dialErr := (&net.Dialer{Timeout: callTimeout}).DialContext(ctx, "unix", path)
	if dialErr == nil {
		_ = conn.Close() // nothing was written
		return err
	}
	var system *os.SyscallError
	if errors.As(dialErr, &system) {
		return system
	}
	return dialErr
}

// forget drops what was remembered of one container, or of all when id is
// empty.
func (c *Client) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	if id == "" {
		clear(c.inspected)
		c.engine = nil
		return
	}
	delete(c.inspected, id)
}

// remembered returns a copy of what is known of containers that need no new
// inspection, and the generation it belongs to.
func (c *Client) remembered() (map[string]details, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.inspected), c.generation
}

func (c *Client) remember(known map[string]details, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation == generation {
		c.inspected = known
	}
}
