-- No keys at all, quoted names in camel case, payments found by their transaction and items by the track number.
CREATE TABLE "Orders" ("OrderUID" text, "TrackNumber" text, "Entry" text, "Locale" text, "InternalSignature" text, "CustomerID" text, "DeliveryService" text,
    "Shardkey" text, "SmID" int, "DateCreated" timestamp, "OofShard" text);
CREATE TABLE "Delivery" ("OrderUID" text, "Name" text, "Phone" text, "Zip" text, "City" text, "Address" text, "Region" text, "Email" text);
CREATE TABLE "Payment" ("Transaction" text, "RequestID" text, "Currency" text, "Provider" text, "Amount" int, "PaymentDt" bigint, "Bank" text, "DeliveryCost" int, "GoodsTotal" int, "CustomFee" int);
CREATE TABLE "Items" ("ChrtID" int, "TrackNumber" text, "Price" int, "RID" text, "Name" text, "Sale" int, "Size" text, "TotalPrice" int, "NmID" int, "Brand" text, "Status" int);
UPDATE staging.orders SET track_number = 'TRACK' || sm_id || substr(order_uid, 1, 8);
UPDATE staging.items i SET track_number = o.track_number FROM staging.orders o WHERE o.order_uid = i.order_uid;
UPDATE staging.payments SET transaction = order_uid;
INSERT INTO "Orders" SELECT order_uid, track_number, entry, locale, internal_signature, customer_id, delivery_service, shardkey, sm_id, date_created AT TIME ZONE 'UTC', oof_shard FROM staging.orders;
INSERT INTO "Delivery" SELECT order_uid, name, phone, zip, city, address, region, email FROM staging.deliveries;
INSERT INTO "Payment" SELECT transaction, request_id, currency, provider, amount, payment_dt, bank, delivery_cost, goods_total, custom_fee FROM staging.payments;
INSERT INTO "Items" SELECT chrt_id, track_number, price, rid, name, sale, size, total_price, nm_id, brand, status FROM staging.items ORDER BY order_uid, position;
