module github.com/orderhub/orderhub/migrations

go 1.26.0
