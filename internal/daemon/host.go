package daemon

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

type documentOut struct{ Body json.RawMessage }

// A Version is which daemon answers whom.
type Version struct {
	Version string  `json:"version"`
	Started float64 `json:"started" doc:"When the daemon was started, in seconds since the kernel was"`
	UID     uint32  `json:"uid" doc:"The user who asks"`
	Role    string  `json:"role" doc:"What the user may: user, operator or admin"`
}

type versionOut struct{ Body Version }

func (d *Daemon) hostVerbs() {
	get := func(path, described string) huma.Operation {
		return huma.Operation{Method: http.MethodGet, Path: path, Description: described}
	}
	answer(d, get("/v1/devices", "As indy devices --json writes it, docs/devices.schema.json"), DevicesVerb, nil, d.document(d.Host.Devices))
	answer(d, get("/v1/leases", "As indy leases --json writes it, docs/leases.schema.json"), LeasesVerb, nil, d.document(d.Host.Leases))
	answer(d, huma.Operation{Method: http.MethodPost, Path: "/v1/recover", Description: "As indy recover --json writes it, docs/recover.schema.json"},
		RecoverVerb, nil, func(ctx context.Context, in *struct{}) (*documentOut, error) {
			who := callerOf(ctx)
			d.Logger.Info("recovers", "uid", who.Peer.UID)
			return d.document(d.Host.Recover)(context.WithoutCancel(ctx), in)
		})
	answer(d, huma.Operation{Method: http.MethodPost, Path: "/v1/autostart", DefaultStatus: http.StatusAccepted}, AutostartVerb, nil, d.autostart)
	answer(d, huma.Operation{Method: http.MethodPost, Path: "/v1/shutdown"}, ShutdownVerb, nil, d.shutdown)
	answer(d, get("/v1/boot-report", ""), BootReportVerb, nil, d.bootReport)
	answer(d, get("/v1/power", ""), PowerVerb, nil, d.power)
	answer(d, bytesOf(get("/v1/metrics", ""), "text/plain"), MetricsVerb, nil, d.metrics)
	answer(d, get("/v1/version", ""), VersionVerb, nil, func(ctx context.Context, _ *struct{}) (*versionOut, error) {
		who := callerOf(ctx)
		return &versionOut{Version{d.Version, d.Started, who.Peer.UID, who.Role.String()}}, nil
	})
	answer(d, bytesOf(get("/v1/openapi.json", ""), "application/json"), OpenAPIVerb, nil, func(context.Context, *struct{}) (*bytesOut, error) {
		text, err := d.OpenAPI()
		return &bytesOut{"application/json", text}, err
	})
}

// document answers with what the machine is asked for. Few may ask at once: the others wait,
// and are given up with their requests.
func (d *Daemon) document(ask func(context.Context) (json.RawMessage, error)) func(context.Context, *struct{}) (*documentOut, error) {
	return func(ctx context.Context, _ *struct{}) (*documentOut, error) {
		select {
		case d.heavy <- struct{}{}:
			defer func() { <-d.heavy }()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		doc, err := ask(ctx)
		if err != nil && !json.Valid(doc) {
			return nil, err
		}
		if err != nil {
			d.Logger.Warn("not all could be read", "err", err)
		}
		return &documentOut{doc}, nil
	}
}

// OpenAPI returns what the daemon can be asked, as an OpenAPI 3.1 document.
func (d *Daemon) OpenAPI() ([]byte, error) {
	return json.MarshalIndent(d.api.OpenAPI(), "", "  ")
}
