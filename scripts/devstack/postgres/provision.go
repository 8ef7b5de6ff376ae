package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	adminRole    = "postgres"
	ownerRole    = "orders" // also its password and the name of its database
	readyPolling = 20 * time.Millisecond
)

// provision waits until the server answers and makes the role and the database
// "orders" where they are missing.
func (s *Server) provision(ctx context.Context) error {
	conn, err := s.connectWhenReady(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var haveRole, haveDatabase bool
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1),
		EXISTS (SELECT FROM pg_database WHERE datname = $1)`, ownerRole).Scan(&haveRole, &haveDatabase)
	if err != nil {
		return fmt.Errorf("look for the role and database %s: %w", ownerRole, err)
	}
	if !haveRole {
		_, err := conn.Exec(ctx, `CREATE ROLE `+ownerRole+` LOGIN CREATEDB PASSWORD '`+ownerRole+`' IN ROLE pg_monitor`)
		if err != nil {
			return fmt.Errorf("create role %s: %w", ownerRole, err)
		}
	}
	if !haveDatabase {
		if _, err := conn.Exec(ctx, `CREATE DATABASE `+ownerRole+` OWNER `+ownerRole); err != nil {
			return fmt.Errorf("create database %s: %w", ownerRole, err)
		}
	}
	return nil
}

// connectWhenReady connects as superuser, trying until the server has started
// or ended.
func (s *Server) connectWhenReady(ctx context.Context) (*pgx.Conn, error) {
	url := s.url(adminRole, s.place.adminPassword, "postgres")
	for {
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			return conn, nil
		}
		select {
		case <-s.proc.Done():
			return nil, fmt.Errorf("PostgreSQL ended while starting: %w\n%s", errors.Join(s.proc.Err()), s.tail)
		case <-ctx.Done():
			return nil, fmt.Errorf("PostgreSQL doesn't answer: %w\n%s", err, s.tail)
		case <-time.After(readyPolling):
		}
	}
}
