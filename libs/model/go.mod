module github.com/orderhub/orderhub/libs/model

go 1.26.0
