module github.com/orderhub/orderhub/libs/devstack

go 1.26.0
