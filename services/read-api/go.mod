module github.com/orderhub/orderhub/services/read-api

go 1.26.0

require (
	github.com/orderhub/orderhub/libs/model v0.0.0
	github.com/orderhub/orderhub/libs/orderdb v0.0.0
	github.com/orderhub/orderhub/libs/platform v0.0.0
	github.com/orderhub/orderhub/migrations v0.0.0
)

replace (
	github.com/orderhub/orderhub/libs/model => ../../libs/model
	github.com/orderhub/orderhub/libs/orderdb => ../../libs/orderdb
	github.com/orderhub/orderhub/libs/platform => ../../libs/platform
	github.com/orderhub/orderhub/migrations => ../../migrations
)
