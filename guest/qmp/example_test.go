package qmp_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/project-independence/indy/guest/qmp"
	"github.com/project-independence/indy/guest/qmp/qmptest"
)

func Example() {
	server := &qmptest.Server{Answer: func(command string, args json.RawMessage) (any, error) {
		return map[string]any{"status": "running", "running": true}, nil
	}}
	ctx := context.Background()
	conn, err := qmp.New(ctx, server.Dial())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()

	var state struct {
		Status string `json:"status"`
	}
	if err := conn.Call(ctx, "query-status", nil, &state); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(conn.Version(), state.Status)
	// Output: 10.0.0 running
}
