package peers

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/segmentio/kafka-go"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// byHand is the service that people write: kafka-go and bun, a transaction for each
// order, and the offset committed after it. It ends where the database fails, and is
// started again.
var byHand = contender{
	name: "hand-written: kafka-go and bun", foreign: true,
	daemon: func(t *trial) *process.Daemon {
		return process.NewDaemon("hand-written", filepath.Join(t.site.Folder, t.name+".log"), func() *exec.Cmd {
			return writerRole.Command(context.Background(), strings.Join([]string{t.site.Broker.Addr, t.topic, t.group, t.database}, " "))
		})
	},
}

var writerRole = rig.NewRole("hand-written writer", func(argument string) {
	arguments := strings.Split(argument, " ")
	must.Succeed(consume(context.Background(), arguments[0], arguments[1], arguments[2], arguments[3]))
})

func openBun(database string) (*bun.DB, error) {
	db, err := sql.Open("pgx", database)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(20)
	return bun.NewDB(db, pgdialect.New()), nil
}

func consume(ctx context.Context, broker, topic, group, database string) error {
	db, err := openBun(database)
	if err != nil {
		return err
	}
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{broker}, Topic: topic, GroupID: group, StartOffset: kafka.FirstOffset, SessionTimeout: 10 * time.Second})
	for {
		message, err := reader.FetchMessage(ctx)
		if err != nil {
			return err
		}
		var order model.Order
		if err := json.Unmarshal(message.Value, &order); err != nil || order.OrderUID == "" {
			log.Printf("skip a broken message at %d/%d: %v", message.Partition, message.Offset, err)
		} else if err := store(ctx, db, &order); err != nil {
			return fmt.Errorf("store order %s: %w", order.OrderUID, err)
		}
		if err := reader.CommitMessages(ctx, message); err != nil {
			return err
		}
	}
}

func store(ctx context.Context, db *bun.DB, order *model.Order) error {
	row := orderdb.FromModel(order, nil)
	return db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		stored, err := tx.NewInsert().Model(row).Column(known(orderdb.Orders.Table)...).On("CONFLICT DO NOTHING").Returning("NULL").Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := stored.RowsAffected(); err != nil || n == 0 {
			return err
		}
		_, deliveryErr := tx.NewInsert().Model(row.Delivery).Column(known(orderdb.Deliveries.Table)...).Returning("NULL").Exec(ctx)
		_, paymentErr := tx.NewInsert().Model(row.Payment).Column(known(orderdb.Payments.Table)...).Returning("NULL").Exec(ctx)
		_, itemsErr := tx.NewInsert().Model(&row.Items).Column(known(orderdb.Items.Table)...).Returning("NULL").Exec(ctx)
		return errors.Join(deliveryErr, paymentErr, itemsErr)
	})
}

// readerRole is the service that people write to serve orders: gin and bun, with a map
// that is filled at the start. It is told its address and the database's.
var readerRole = rig.NewRole("hand-written reader", func(argument string) {
	addr, database, _ := strings.Cut(argument, " ")
	must.Succeed(serve(context.Background(), addr, database))
})

func serve(ctx context.Context, addr, database string) error {
	db, err := openBun(database)
	if err != nil {
		return err
	}
	var mu sync.RWMutex
	cache := map[string]*model.Order{}
	var rows []*orderdb.Order
	if err := db.NewSelect().Model(&rows).Relation("Delivery").Relation("Payment").Relation("Items").Scan(ctx); err != nil {
		return err
	}
	for _, row := range rows {
		cache[row.OrderUID] = row.ToModel()
	}
	rows = nil
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.GET("/order/:order_uid", func(c *gin.Context) {
		uid := c.Param("order_uid")
		mu.RLock()
		order := cache[uid]
		mu.RUnlock()
		if order == nil {
			row := new(orderdb.Order)
			err := db.NewSelect().Model(row).Relation("Delivery").Relation("Payment").Relation("Items").Where("o.order_uid = ?", uid).Scan(c)
			switch {
			case errors.Is(err, sql.ErrNoRows):
				c.JSON(http.StatusNotFound, gin.H{"error": "order not found"})
				return
			case err != nil:
				c.JSON(http.StatusInternalServerError, gin.H{"error": err.Error()})
				return
			}
			order = row.ToModel()
			mu.Lock()
			cache[uid] = order
			mu.Unlock()
		}
		c.JSON(http.StatusOK, order)
	})
	server := &http.Server{Addr: addr, Handler: engine, ReadHeaderTimeout: 5 * time.Second}
	return server.ListenAndServe()
}
