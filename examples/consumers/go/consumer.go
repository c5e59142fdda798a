// A consumer of Redis Streams that loses nothing, without any library: `go run consumer.go`, with the variables below.
// Why it does each of these things is said in ../python/consumer.py. It speaks to redis://[user:password@]host:port.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const timeout = 5 * time.Second

var (
	group, me      = os.Getenv("SHOPBENCH_GROUP"), os.Getenv("SHOPBENCH_CONSUMER")
	claimMs, page  = os.Getenv("SHOPBENCH_CLAIM_MS"), os.Getenv("SHOPBENCH_PAGE")
	streams, sink  = strings.Fields(os.Getenv("SHOPBENCH_STREAMS")), os.Getenv("SHOPBENCH_EFFECTS")
	stopping, _    = signal.NotifyContext(context.Background(), syscall.SIGTERM)
	client         = http.Client{Timeout: timeout}
	shortest, most = 50 * time.Millisecond, time.Second
	pause          = shortest
)

// A connection: a command is an array of strings; its reply a string, an array, or nil.
type redis struct {
	net.Conn
	in *bufio.Reader
}

func (r redis) call(words ...string) (any, error) {
	command := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		command += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	r.SetDeadline(time.Now().Add(timeout))
	if _, err := io.WriteString(r, command); err != nil {
		return nil, err
	}
	return r.reply()
}

func (r redis) reply() (any, error) {
	line, err := r.in.ReadString('\n')
	if err != nil || len(line) < 3 {
		return nil, errors.Join(io.ErrUnexpectedEOF, err)
	}
	rest := line[1 : len(line)-2]
	n, _ := strconv.Atoi(rest)
	switch {
	case line[0] == '-':
		return nil, errors.New(rest)
	case (line[0] == '$' || line[0] == '*') && n < 0:
		return nil, nil
	case line[0] == '$':
		text := make([]byte, n+2)
		_, err := io.ReadFull(r.in, text)
		return string(text[:n]), err
	case line[0] == '*':
		all := make([]any, n)
		for i := range all {
			if all[i], err = r.reply(); err != nil {
				return nil, err
			}
		}
		return all, nil
	}
	return rest, nil
}

func list(reply any) []any {
	all, _ := reply.([]any)
	return all
}

// Have the effects of some events; false: one of them is refused for good. Anything else is an error.
func hasEffects(ids ...string) (bool, error) {
	answer, err := client.Post(sink, "text/plain", strings.NewReader(strings.Join(ids, "\n"))) // an ID a line
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body) // only then the connection is free again
	if answer.StatusCode != 200 && answer.StatusCode != 422 {
		return false, errors.New("the sink answers " + answer.Status)
	}
	return answer.StatusCode == 200, nil
}

// Have the effects of a page, and then acknowledge it; if one is refused, go one by one.
func (r redis) handle(stream string, entries []any) error {
	if len(entries) == 0 {
		return nil
	}
	var ids []string
	ack, fields := []string{"XACK", stream, group}, map[string][]string{}
	for _, entry := range entries {
		ack = append(ack, list(entry)[0].(string))
		var all []string
		for _, each := range list(list(entry)[1]) { // none: trimmed while it was pending
			all = append(all, each.(string))
		}
		for i := 0; i+1 < len(all); i += 2 {
			if all[i] == "event_id" {
				ids, fields[all[i+1]] = append(ids, all[i+1]), all
			}
		}
	}
	had := true
	var err error
	if len(ids) > 0 {
		had, err = hasEffects(ids...)
	}
	for i := 0; i < len(ids) && !had && err == nil; i++ {
		one := false
		for attempts := 3; attempts > 0 && !one && err == nil; attempts-- {
			one, err = hasEffects(ids[i])
		}
		if !one && err == nil {
			_, err = r.call(append([]string{"XADD", stream + ":parked", "*"}, fields[ids[i]]...)...)
		}
	}
	if err == nil {
		_, err = r.call(ack...)
	}
	if err == nil {
		pause = shortest
	}
	return err
}

// Read some streams, each from its own pending entries ("0") or for new ones (">"), and handle them; how many there were.
func (r redis) read(blockMs, from string, streams ...string) (count int, err error) {
	words := append([]string{"XREADGROUP", "GROUP", group, me, "COUNT", page, "BLOCK", blockMs, "STREAMS"}, streams...)
	for range streams {
		words = append(words, from)
	}
	reply, err := r.call(words...)
	for _, one := range list(reply) {
		entries := list(list(one)[1])
		if err = r.handle(list(one)[0].(string), entries); err != nil {
			break
		}
		count += len(entries)
	}
	return count, err
}

// Take over what others have left for too long.
func (r redis) claim(stream string) error {
	for from := ""; from != "0-0" && stopping.Err() == nil; {
		if from == "" {
			from = "0-0"
		}
		reply, err := r.call("XAUTOCLAIM", stream, group, me, claimMs, from, "COUNT", page)
		if err == nil {
			err = r.handle(stream, list(list(reply)[1]))
		}
		if err != nil {
			return err
		}
		from = list(reply)[0].(string)
	}
	return nil
}

// Own pending entries first; then new ones and, now and then, what others have left.
func (r redis) consume() error {
	for _, stream := range streams {
		_, err := r.call("XGROUP", "CREATE", stream, group, "0", "MKSTREAM")
		if err != nil && !strings.HasPrefix(err.Error(), "BUSYGROUP") {
			return err
		}
		for count := 1; count > 0 && stopping.Err() == nil; {
			if count, err = r.read("1", "0", stream); err != nil {
				return err
			}
		}
	}
	between, _ := time.ParseDuration(claimMs + "ms")
	for claimAt := time.Now(); stopping.Err() == nil; {
		if time.Now().After(claimAt) {
			for _, stream := range streams {
				if err := r.claim(stream); err != nil {
					return err
				}
			}
			claimAt = time.Now().Add(between / 2)
		}
		if _, err := r.read("200", ">", streams...); err != nil {
			return err
		}
	}
	return nil
}

// On a connection of its own, until SIGTERM or an error.
func consume() error {
	at, err := url.Parse(os.Getenv("SHOPBENCH_REDIS_URL"))
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp", at.Host, timeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	r := redis{conn, bufio.NewReader(conn)}
	if password, isThere := at.User.Password(); isThere {
		user := at.User.Username()
		if user == "" {
			user = "default"
		}
		if _, err := r.call("AUTH", user, password); err != nil {
			return err
		}
	}
	return r.consume()
}

func main() {
	for stopping.Err() == nil { // after any error all of it begins anew, on a new connection
		if err := consume(); err != nil {
			log.Printf("again in %v: %v", pause, err)
			time.Sleep(pause)
			pause = min(2*pause, most)
		}
	}
}
