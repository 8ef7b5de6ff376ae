module github.com/orderhub/orderhub/libs/platform

go 1.26.0
