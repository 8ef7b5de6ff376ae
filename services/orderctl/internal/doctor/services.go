package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/buildinfo"
	"github.com/orderhub/orderhub/libs/platform/config"
)

const (
	statsPath    = "/api/v1/stats"
	maxStaleness = 10 * time.Second // as OrderhubCacheStale
	maxAnswer    = 8 << 20
)

// get asks a program, with a token if there is one.
func (e *env) get(ctx context.Context, address string, token config.Secret) (*http.Response, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	answer, err := e.http.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	return answer, body, err
}

// api connects to the read API.
func api(ctx context.Context, e *env, r *report) (string, error) {
	if e.API == "" {
		return "", unknown("no address: say with --api where the read API is")
	}
	began := time.Now()
	answer, _, err := e.get(ctx, e.API+statsPath, "")
	if err != nil {
		return "", fmt.Errorf("%w: start the read API, or say where it is with --api", err)
	}
	if answer.TLS != nil {
		r.expires(e.API, answer.TLS.PeerCertificates[0].NotAfter)
	}
	seen := "answers " + answer.Status
	if now, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		seen += "; its clock is " + r.clock("clock_skew", e.API, now.Add(time.Second/2), began) // Date is cut to the second
	}
	return seen, nil
}

// authentication asks without a credential, and with the one of the settings.
func authentication(ctx context.Context, e *env, r *report) (string, error) {
	answer, _, err := e.get(ctx, e.API+statsPath, "")
	if err != nil {
		return "", err
	}
	address, err := url.Parse(e.API)
	if err != nil {
		return "", err
	}
	switch {
	case answer.StatusCode == http.StatusOK && config.IsLoopbackHost(address.Hostname()):
		return "off: everybody on this machine may read all orders", nil
	case answer.StatusCode == http.StatusOK:
		r.find("open", e.API, "a request without a credential is answered: everybody who reaches the API may read all orders")
		return "", nil
	case answer.StatusCode != http.StatusUnauthorized:
		return "", fmt.Errorf("a request without a credential is answered with %s", answer.Status)
	case e.Token == "":
		return "", unknown("a request without a credential is refused, as it should be; set ORDERHUB_API_TOKEN to try a token, too")
	}
	answer, _, err = e.get(ctx, e.API+statsPath, e.Token)
	switch {
	case err != nil:
		return "", err
	case answer.StatusCode == http.StatusUnauthorized:
		r.find("token_refused", e.API, "the token of ORDERHUB_API_TOKEN is not valid")
	case answer.StatusCode == http.StatusForbidden:
		r.find("token_scopes", e.API, "the token of ORDERHUB_API_TOKEN may not read orders")
	case answer.StatusCode != http.StatusOK:
		return "", fmt.Errorf("a request with the token of ORDERHUB_API_TOKEN is answered with %s", answer.Status)
	}
	return "a request without a credential is refused, the token of ORDERHUB_API_TOKEN is accepted", nil
}

func apiCache(ctx context.Context, e *env, r *report) (string, error) {
	answer, body, err := e.get(ctx, e.API+statsPath, e.Token)
	switch {
	case err != nil:
		return "", err
	case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusForbidden:
		return "", unknown("needs ORDERHUB_API_TOKEN with the scope orders:read")
	case answer.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s is answered with %s", statsPath, answer.Status)
	}
	var stats struct {
		Orders           int64
		Synced           bool
		StalenessSeconds float64 `json:"staleness_seconds"`
	}
	if err := json.Unmarshal(body, &stats); err != nil {
		return "", fmt.Errorf("%s: %w", statsPath, err)
	}
	switch age := time.Duration(stats.StalenessSeconds * float64(time.Second)); {
	case !stats.Synced:
		r.find("not_synced", e.API, fmt.Sprintf("the cache is being filled, with %d orders so far", stats.Orders))
	case age > maxStaleness:
		r.find("stale", e.API, fmt.Sprintf("the cache was up to date %s ago", age.Round(time.Second)))
	}
	return fmt.Sprintf("%d orders, up to date %.1f s ago", stats.Orders, stats.StalenessSeconds), nil
}

var (
	buildLine  = regexp.MustCompile(`(?m)^orderhub_build_info\{(.*)\} 1$`)
	buildLabel = regexp.MustCompile(`(\w+)="([^"]*)"`)
)

// programs asks the admin ports whether their programs are ready, and which they are.
func programs(ctx context.Context, e *env, r *report) (string, error) {
	if len(e.Admin) == 0 {
		return "", unknown("no addresses: name the admin ports of worker, API, console and bridge with --admin")
	}
	own := buildinfo.Read()
	var seen []string
	for _, address := range e.Admin {
		_, body, err := e.get(ctx, address+"/metrics", "")
		if err != nil {
			r.find("unreachable", address, err.Error())
			continue
		}
		line := buildLine.FindSubmatch(body)
		if line == nil {
			r.find("no_metrics", address, "/metrics has no orderhub_build_info")
			continue
		}
		build := map[string]string{}
		for _, label := range buildLabel.FindAllSubmatch(line[1], -1) {
			build[string(label[1])] = string(label[2])
		}
		seen = append(seen, build["service"])
		if build["version"] != own.Version || build["revision"] != own.Revision {
			r.find("version_skew", build["service"], fmt.Sprintf("%s is %s, revision %s; orderctl is %s, revision %s", address,
				build["version"], cmp.Or(build["revision"], "unknown"), own.Version, cmp.Or(own.Revision, "unknown")))
		}
		answer, body, err := e.get(ctx, address+"/readyz", "")
		if err != nil {
			r.find("unreachable", address, err.Error())
		} else if answer.StatusCode != http.StatusOK {
			r.find("not_ready", build["service"], address+": "+reasons(body, answer.Status))
		}
	}
	return strings.Join(seen, ", ") + ": ready, of one version", nil
}

// reasons are why a program is not ready, by /readyz.
func reasons(body []byte, status string) string {
	var ready struct {
		Components []struct {
			Name, Detail string
			Ready        bool
		}
	}
	var all []string
	_ = json.Unmarshal(body, &ready) // it says less then
	for _, c := range ready.Components {
		if !c.Ready {
			all = append(all, c.Name+": "+c.Detail)
		}
	}
	return cmp.Or(strings.Join(all, "; "), status)
}

// auditFolder looks at where the audit log of this machine's commands goes.
func auditFolder(_ context.Context, e *env, r *report) (string, error) {
	if e.Audit.To != audit.ToFile {
		return "ORDERHUB_AUDIT is " + e.Audit.To, nil
	}
	file, err := e.Audit.Path()
	if err != nil {
		return "", err
	}
	place := file // the file, or the first folder above that exists
	for ; place != filepath.Dir(place); place = filepath.Dir(place) {
		if _, err := os.Stat(place); !errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	const write = 2
	if err := syscall.Access(place, write); err != nil {
		r.find("unwritable", file, fmt.Sprintf("%s: %v: commands that change something or reveal personal data are refused", place, err))
		return "", nil
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(place, &disk); err != nil {
		return "", err
	}
	free := int64(disk.Bavail) * int64(disk.Bsize) //nolint:unconvert,gosec // its type differs between systems
	seen := fmt.Sprintf("%s: %d MiB are free", file, free>>20)
	if free < 2*e.Audit.FileBytes {
		r.find("low_space", file, seen+", fewer than two files of ORDERHUB_AUDIT_FILE_BYTES")
	}
	return seen, nil
}
