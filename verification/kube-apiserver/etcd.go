package main

// The embedded etcd, and the control endpoint with which tests disturb it.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"
)

type etcdServer struct {
	*embed.Etcd
	clientURL string
	// writeDelay (a time.Duration) holds up every write before etcd takes it on, as a slow disk would.
	writeDelay atomic.Int64
}

func startEtcd(dir string, fsync bool) (*etcdServer, error) {
	// Sockets in the file system need no ports, and nobody else can reach them.
	clientURL := url.URL{Scheme: "unix", Path: dir + "-client.sock"}
	peerURL := url.URL{Scheme: "unix", Path: dir + "-peer.sock"}
	server := &etcdServer{clientURL: clientURL.String()}

	config := embed.NewConfig()
	config.Dir = dir
	config.ListenClientUrls = []url.URL{clientURL}
	config.AdvertiseClientUrls = []url.URL{clientURL}
	config.ListenPeerUrls = []url.URL{peerURL}
	config.AdvertisePeerUrls = []url.URL{peerURL}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.UnsafeNoFsync = !fsync
	// A member without peers waits for nobody in its election.
	config.TickMs, config.ElectionMs = 10, 100
	config.LogLevel = "error"
	config.GRPCAdditionalServerOptions = []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(server.delayWrites),
	}

	var err error
	if server.Etcd, err = embed.StartEtcd(config); err != nil {
		return nil, err
	}
	select {
	case <-server.Server.ReadyNotify():
		return server, nil
	case err = <-server.Err():
	case <-time.After(time.Minute):
		err = errors.New("not ready within a minute")
	}
	server.Close()
	return nil, err
}

// delayWrites is a gRPC interceptor. The API server sends each of its writes as a Txn.
func (s *etcdServer) delayWrites(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if info.FullMethod == pb.KV_Txn_FullMethodName {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(s.writeDelay.Load())):
		}
	}
	return handler(ctx, request)
}

// compact forgets every revision but the current one, and returns that.
func (s *etcdServer) compact(ctx context.Context) (int64, error) {
	revision := s.Server.KV().Rev()
	_, err := s.Server.Compact(ctx, &pb.CompactionRequest{Revision: revision, Physical: true})
	return revision, err
}

// serveControl answers, on a free port of 127.0.0.1:
//
//	POST /compact      compacts etcd to its current revision: {"revision": 123}
//	PUT /write-delay   holds up each write of the API server by the duration in the body ("250ms")
func serveControl(etcd *etcdServer) (net.Addr, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /compact", func(w http.ResponseWriter, r *http.Request) {
		revision, err := etcd.compact(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]int64{"revision": revision})
	})
	mux.HandleFunc("PUT /write-delay", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 64))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		delay, err := time.ParseDuration(strings.TrimSpace(string(body)))
		if err != nil || delay < 0 {
			http.Error(w, fmt.Sprintf("not a duration: %q", body), http.StatusBadRequest)
			return
		}
		etcd.writeDelay.Store(int64(delay))
	})
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() { _ = http.Serve(listener, mux) }()
	return listener.Addr(), nil
}
