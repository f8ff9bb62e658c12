CREATE TABLE customers (
  id INTEGER PRIMARY KEY,
  name VARCHAR(120) NOT NULL,
  email VARCHAR(160) NOT NULL UNIQUE,
  phone VARCHAR(40),
  segment VARCHAR(16) NOT NULL DEFAULT 'private' CHECK (segment IN ('private', 'business', 'partner')),
  country CHAR(2) NOT NULL,
  tax_id VARCHAR(32),
  credit_limit DECIMAL(12,2) NOT NULL DEFAULT 0 CHECK (credit_limit >= 0),
  newsletter BOOLEAN NOT NULL DEFAULT FALSE,
  birth_date DATE,
  note TEXT,
  created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE addresses (
  id INTEGER PRIMARY KEY,
  customer_id INTEGER NOT NULL REFERENCES customers (id) ON DELETE CASCADE,
  kind VARCHAR(16) NOT NULL CHECK (kind IN ('billing', 'shipping')),
  street VARCHAR(160) NOT NULL,
  postal_code VARCHAR(16) NOT NULL,
  city VARCHAR(80) NOT NULL,
  country CHAR(2) NOT NULL,
  UNIQUE (customer_id, kind)
);

CREATE TABLE products (
  id INTEGER PRIMARY KEY,
  sku VARCHAR(24) NOT NULL UNIQUE,
  name VARCHAR(120) NOT NULL,
  category VARCHAR(40) NOT NULL,
  price DECIMAL(10,2) NOT NULL CHECK (price >= 0),
  currency CHAR(3) NOT NULL DEFAULT 'EUR',
  stock INTEGER NOT NULL DEFAULT 0 CHECK (stock >= 0),
  active BOOLEAN NOT NULL DEFAULT TRUE,
  released_on DATE
);

CREATE TABLE orders (
  id INTEGER PRIMARY KEY,
  number VARCHAR(24) NOT NULL UNIQUE,
  customer_id INTEGER NOT NULL REFERENCES customers (id),
  shipping_address_id INTEGER REFERENCES addresses (id) ON DELETE SET NULL,
  status VARCHAR(16) NOT NULL DEFAULT 'placed' CHECK (status IN ('placed', 'paid', 'shipped', 'delivered', 'cancelled', 'returned')),
  total DECIMAL(12,2) NOT NULL CHECK (total >= 0),
  currency CHAR(3) NOT NULL DEFAULT 'EUR',
  placed_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
  shipped_at DATETIME
);

CREATE TABLE order_lines (
  order_id INTEGER NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
  line_no INTEGER NOT NULL,
  product_id INTEGER NOT NULL REFERENCES products (id),
  quantity INTEGER NOT NULL CHECK (quantity > 0),
  unit_price DECIMAL(10,2) NOT NULL CHECK (unit_price >= 0),
  PRIMARY KEY (order_id, line_no)
);

CREATE TABLE payments (
  id INTEGER PRIMARY KEY,
  order_id INTEGER NOT NULL REFERENCES orders (id),
  method VARCHAR(16) NOT NULL CHECK (method IN ('card', 'paypal', 'invoice', 'transfer')),
  status VARCHAR(16) NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'captured', 'failed', 'refunded')),
  amount DECIMAL(12,2) NOT NULL CHECK (amount >= 0),
  currency CHAR(3) NOT NULL DEFAULT 'EUR',
  reference VARCHAR(40) NOT NULL UNIQUE,
  paid_at DATETIME
);
