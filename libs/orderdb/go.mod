module github.com/orderhub/orderhub/libs/orderdb

go 1.26.0

require github.com/orderhub/orderhub/libs/model v0.0.0

replace github.com/orderhub/orderhub/libs/model => ../../libs/model
