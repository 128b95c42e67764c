// Command kube-apiserver runs a real Kubernetes API server on an etcd in the same process, for tests.
//
// It prints one line of JSON with its addresses once it listens, ends on SIGTERM, and ends for good
// when its standard input closes, so that it never outlives the process that started it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// addresses is what the launcher reads from standard output.
type addresses struct {
	Server  string `json:"server"`
	Control string `json:"control"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "kube-apiserver:", err)
		os.Exit(1)
	}
}

func run() error {
	dataDir := flag.String("data-dir", "", "directory for etcd's data, keys and certificates")
	port := flag.Int("port", 0, "port of the API server on 127.0.0.1; 0 picks a free one")
	tokenFile := flag.String("token-file", "", "CSV file of static tokens: token,user,uid[,groups]")
	fsync := flag.Bool("fsync", false, "let etcd flush every write to disk")
	ephemeral := flag.Bool("ephemeral", false, "remove the data directory when standard input closes")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: kube-apiserver --data-dir DIR [flags] [-- flags of the real kube-apiserver]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *dataDir == "" {
		return errors.New("--data-dir is required")
	}
	dir, err := filepath.Abs(*dataDir)
	if err != nil {
		return err
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go exitWithParent(dir, *ephemeral)

	listener, err := listen(ctx, *port)
	if err != nil {
		return err
	}
	keys, err := ensureKeys(filepath.Join(dir, "pki"))
	if err != nil {
		return fmt.Errorf("create keys: %w", err)
	}
	etcd, err := startEtcd(filepath.Join(dir, "etcd"), *fsync)
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	defer etcd.Close()
	control, err := serveControl(etcd)
	if err != nil {
		return fmt.Errorf("start the control endpoint: %w", err)
	}
	err = json.NewEncoder(os.Stdout).Encode(addresses{
		Server:  "https://" + listener.Addr().String(),
		Control: "http://" + control.String(),
	})
	if err != nil {
		return err
	}

	flags := []string{
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		// A loopback address is no valid endpoint of the service "kubernetes".
		"--endpoint-reconciler-type=none",
		// Else an open watch would hold up the shutdown for a minute.
		"--shutdown-watch-termination-grace-period=1s",
		"--etcd-servers=" + etcd.clientURL,
		"--tls-cert-file=" + keys.serverCert,
		"--tls-private-key-file=" + keys.serverKey,
		"--client-ca-file=" + keys.caCert,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + keys.serviceAccountKey,
		"--service-account-signing-key-file=" + keys.serviceAccountKey,
		"--service-cluster-ip-range=10.0.0.0/24",
		"--authorization-mode=RBAC",
	}
	if *tokenFile != "" {
		flags = append(flags, "--token-auth-file="+*tokenFile)
	}
	return runAPIServer(ctx, listener, append(flags, flag.Args()...))
}

// runAPIServer does what the kube-apiserver command does, on a listener of ours.
func runAPIServer(ctx context.Context, listener net.Listener, flags []string) error {
	opts := options.NewServerRunOptions()
	flagSet := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, set := range opts.Flags().FlagSets {
		flagSet.AddFlagSet(set)
	}
	if err := flagSet.Parse(flags); err != nil {
		return err
	}
	opts.SecureServing.Listener = listener
	if err := opts.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	completed, err := opts.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return utilerrors.NewAggregate(errs)
	}
	return app.Run(ctx, completed)
}

// listen binds the port at once and keeps it, so that nobody can take it in between. A port that is
// taken for a moment (as an outgoing one, while a server is down for a restart) is worth waiting for.
func listen(ctx context.Context, port int) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if !errors.Is(err, syscall.EADDRINUSE) {
			return listener, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// exitWithParent ends the process as soon as nobody holds the other end of standard input any more,
// however the holder ended. Nobody is left to use what the server knows, so nothing is drained.
func exitWithParent(dataDir string, ephemeral bool) {
	_, _ = io.Copy(io.Discard, os.Stdin)
	if ephemeral {
		if err := os.RemoveAll(dataDir); err != nil {
			fmt.Fprintln(os.Stderr, "kube-apiserver:", err)
			os.Exit(1)
		}
	}
	os.Exit(0)
}
