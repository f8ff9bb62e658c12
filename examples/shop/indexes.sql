CREATE INDEX orders_by_customer ON orders (customer_id, placed_at);
CREATE INDEX orders_by_address ON orders (shipping_address_id);
CREATE INDEX order_lines_by_product ON order_lines (product_id);
CREATE INDEX payments_by_order ON payments (order_id);
CREATE INDEX customers_by_country ON customers (country);
