// Package main stands where kube-rbac-proxy would, on machines that cannot have its image: it takes the flags that the
// overlay rhoai gives, and passes requests on with the same library. It authenticates nobody: a path that --ignore-paths
// does not name is refused with 401.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"flag"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

func main() {
	listen := flag.String("secure-listen-address", "", "address of the proxy")
	health := flag.Int("proxy-endpoints-port", 0, "port of /healthz, on the same host")
	upstream := flag.String("upstream", "", "where requests are passed on to")
	ignored := flag.String("ignore-paths", "", "patterns of paths that are passed on")
	certFile := flag.String("tls-cert-file", "", "certificate; the proxy makes its own without one")
	keyFile := flag.String("tls-private-key-file", "", "key of the certificate")
	flag.String("kubeconfig", "", "not read: nobody is authenticated")
	flag.Parse()

	target, err := url.Parse(*upstream)
	if err != nil {
		log.Fatal(err)
	}
	config, err := tlsConfig(*certFile, *keyFile)
	if err != nil {
		log.Fatal(err)
	}
	host, _, err := net.SplitHostPort(*listen)
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error)
	serve := func(address string, handler http.Handler) {
		server := &http.Server{Addr: address, Handler: handler, TLSConfig: config, ReadHeaderTimeout: 30 * time.Second}
		ended <- server.ListenAndServeTLS("", "")
	}
	go serve(*listen, passing(strings.Split(*ignored, ","), httputil.NewSingleHostReverseProxy(target)))
	if *health != 0 {
		go serve(net.JoinHostPort(host, strconv.Itoa(*health)), http.HandlerFunc(healthz))
	}
	log.Fatal(<-ended)
}

func passing(patterns []string, proxy http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, pattern := range patterns {
			if matched, err := path.Match(pattern, r.URL.Path); err == nil && matched {
				proxy.ServeHTTP(w, r)
				return
			}
		}
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
	})
}

func healthz(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/healthz" {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write([]byte("ok"))
}

func tlsConfig(certFile, keyFile string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if certFile != "" {
		config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(certFile, keyFile)
			return &pair, err
		}
		_, err := config.GetCertificate(nil)
		return config, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "kube-rbac-proxy"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
	}
	made, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	config.Certificates = []tls.Certificate{{Certificate: [][]byte{made}, PrivateKey: key}}
	return config, nil
}
