package synth

// A market is a country that orders come from. In patterns each # becomes a
// digit; phone numbers keep a run of zeros, so that they are hardly anybody's.
type market struct {
	locales    []string
	currency   string
	scale      int64 // what a price is multiplied by, as minor units differ in worth
	phone      string
	firstNames []string
	lastNames  []string
	streets    []string
	cities     []city
	services   []string
	banks      []string
	providers  []string
}

type city struct{ name, region, zip string }

// Services and providers that are known in every market.
var (
	everywhereServices  = []string{"meest", "dhl", "ups"}
	everywhereProviders = []string{"wbpay", "visa", "mastercard", "paypal"}
)

var markets = []market{
	{
		locales: []string{"ru", "ru-RU", "en"}, currency: "RUB", scale: 90, phone: "+79#6000####",
		firstNames: []string{"Alexey", "Ivan", "Dmitry", "Anna", "Maria", "Olga", "Sergey", "Елена", "Наталья", "Михаил"},
		lastNames:  []string{"Petrenko", "Ivanenko", "Smirnykh", "Volkonsky", "Lebedinsky", "Кузнец", "Сокол", "Морозко"},
		streets:    []string{"Nevsky Prospekt", "Ulitsa Lenina", "Ploshad Mira", "Sadovaya Ulitsa", "улица Гагарина"},
		cities: []city{
			{"Moscow", "Moscow", "1#1###"}, {"Saint Petersburg", "Leningrad", "19####"}, {"Kazan", "Tatarstan", "4200##"},
			{"Novosibirsk", "Novosibirsk Oblast", "6300##"}, {"Yekaterinburg", "Sverdlovsk Oblast", "6200##"},
		},
		services: []string{"cdek", "boxberry", "pochta"}, banks: []string{"alpha", "sber", "vtb", "tbank"}, providers: []string{"sbp", "mir"},
	},
	{
		locales: []string{"he", "en", "ru"}, currency: "ILS", scale: 4, phone: "+97250000####",
		firstNames: []string{"Noa", "Tamar", "Yael", "David", "Moshe", "Avi", "נועה", "דוד"},
		lastNames:  []string{"Levi", "Mizrahi", "Peretz", "Biton", "Friedman", "כהן"},
		streets:    []string{"Herzl Street", "Rothschild Boulevard", "Jabotinsky Street", "Ben Yehuda Street"},
		cities: []city{
			{"Kiryat Mozkin", "Kraiot", "2639###"}, {"Tel Aviv", "Tel Aviv District", "61####0"}, {"Haifa", "Haifa District", "31####0"},
			{"Jerusalem", "Jerusalem District", "91####0"},
		},
		services: []string{"israelpost", "hfd"}, banks: []string{"leumi", "hapoalim", "discount"}, providers: []string{"bit", "isracard"},
	},
	{
		locales: []string{"de", "de-DE", "en"}, currency: "EUR", scale: 1, phone: "+49151000####",
		firstNames: []string{"Jürgen", "Anke", "Lukas", "Hannah", "Björn", "Käthe", "Felix", "Mia"},
		lastNames:  []string{"Müller", "Schäfer", "Weiß", "Vogt", "Brandt", "Lindner", "Köhler"},
		streets:    []string{"Hauptstraße", "Bahnhofstraße", "Goethestraße", "Am Stadtpark", "Lindenallee"},
		cities: []city{
			{"Berlin", "Berlin", "10###"}, {"Köln", "Nordrhein-Westfalen", "50###"}, {"München", "Bayern", "80###"},
			{"Leipzig", "Sachsen", "04###"}, {"Hamburg", "Hamburg", "20###"},
		},
		services: []string{"dpd", "hermes", "gls"}, banks: []string{"commerz", "sparkasse", "n26"}, providers: []string{"klarna", "girocard"},
	},
	{
		locales: []string{"pl", "pl-PL", "en"}, currency: "PLN", scale: 4, phone: "+48600000###",
		firstNames: []string{"Łukasz", "Agnieszka", "Piotr", "Katarzyna", "Michał", "Zofia"},
		lastNames:  []string{"Wiśniewski", "Nowak", "Zieliński", "Wójcik", "Dąbrowska"},
		streets:    []string{"ulica Długa", "ulica Polna", "Aleje Jerozolimskie", "plac Wolności"},
		cities: []city{
			{"Warszawa", "Mazowieckie", "00-###"}, {"Kraków", "Małopolskie", "30-###"}, {"Łódź", "Łódzkie", "90-###"}, {"Gdańsk", "Pomorskie", "80-###"},
		},
		services: []string{"inpost", "dpd"}, banks: []string{"pko", "mbank", "pekao"}, providers: []string{"blik", "przelewy24"},
	},
	{
		locales: []string{"en-US", "en", "es-US"}, currency: "USD", scale: 1, phone: "+1#125550###",
		firstNames: []string{"James", "Emily", "Michael", "Olivia", "Carlos", "Grace", "Ethan", "Aaliyah"},
		lastNames:  []string{"Smith", "Johnson", "Garcia", "O'Neill", "Nguyen", "Washington"},
		streets:    []string{"Main Street", "Maple Avenue", "Oak Drive", "5th Avenue", "Lakeview Road"},
		cities: []city{
			{"New York", "NY", "100##"}, {"Austin", "TX", "787##"}, {"Seattle", "WA", "981##"}, {"Chicago", "IL", "606##"}, {"Miami", "FL", "331##"},
		},
		services: []string{"fedex", "usps"}, banks: []string{"chase", "citi", "wellsfargo"}, providers: []string{"stripe", "amex"},
	},
	{
		locales: []string{"en-GB", "en"}, currency: "GBP", scale: 1, phone: "+447700900###",
		firstNames: []string{"Oliver", "Amelia", "Harry", "Isla", "George", "Priya"},
		lastNames:  []string{"Jones", "Taylor", "Evans", "Patel", "MacDonald", "Fitzwilliam-Hughes"},
		streets:    []string{"High Street", "Church Lane", "Station Road", "Victoria Road"},
		cities: []city{
			{"London", "Greater London", "SW1A #AA"}, {"Manchester", "Greater Manchester", "M1 #AB"}, {"Edinburgh", "Scotland", "EH1 #BB"}, {"Cardiff", "Wales", "CF10 #AA"},
		},
		services: []string{"royalmail", "evri"}, banks: []string{"barclays", "lloyds", "monzo"}, providers: []string{"stripe", "adyen"},
	},
	{
		locales: []string{"kk", "ru-KZ", "ru"}, currency: "KZT", scale: 480, phone: "+7701000####",
		firstNames: []string{"Aigerim", "Nurlan", "Дана", "Ерлан", "Madina"},
		lastNames:  []string{"Akhmetov", "Sadykov", "Нұрғали", "Bekova"},
		streets:    []string{"Abay Avenue", "Satpaev Street", "Dostyk Avenue"},
		cities:     []city{{"Almaty", "Almaty", "0500##"}, {"Astana", "Akmola", "0100##"}, {"Shymkent", "Turkistan", "1600##"}},
		services:   []string{"kazpost", "cdek"}, banks: []string{"kaspi", "halyk"}, providers: []string{"kaspipay"},
	},
	{
		locales: []string{"ja", "ja-JP", "en"}, currency: "JPY", scale: 2, phone: "+8190000#####",
		firstNames: []string{"陽菜", "蓮", "Yuki", "Haruto", "Sakura"},
		lastNames:  []string{"佐藤", "鈴木", "Takahashi", "Tanaka"},
		streets:    []string{"Chuo-dori", "Meiji-dori", "桜通り"},
		cities:     []city{{"Tokyo", "Tokyo", "10#-00##"}, {"Osaka", "Osaka", "53#-00##"}, {"Sapporo", "Hokkaido", "06#-00##"}},
		services:   []string{"yamato", "sagawa"}, banks: []string{"mufg", "mizuho"}, providers: []string{"jcb", "paypay"},
	},
	{
		locales: []string{"pt-BR"}, currency: "BRL", scale: 5, phone: "+551190000####",
		firstNames: []string{"João", "Ana", "Gabriel", "Beatriz", "Thiago"},
		lastNames:  []string{"Silva", "Souza", "Conceição", "Araújo"},
		streets:    []string{"Rua das Flores", "Avenida Paulista", "Travessa São José"},
		cities:     []city{{"São Paulo", "SP", "01###-000"}, {"Rio de Janeiro", "RJ", "20###-000"}, {"Brasília", "DF", "70###-000"}},
		services:   []string{"correios", "loggi"}, banks: []string{"itau", "bradesco", "nubank"}, providers: []string{"pix", "elo"},
	},
	{
		locales: []string{"tr", "tr-TR"}, currency: "TRY", scale: 34, phone: "+9050#000####",
		firstNames: []string{"Ayşe", "Mehmet", "Zeynep", "Çağlar", "Özge"},
		lastNames:  []string{"Yılmaz", "Demir", "Şahin", "Öztürk"},
		streets:    []string{"İstiklal Caddesi", "Atatürk Bulvarı", "Bağdat Caddesi"},
		cities:     []city{{"İstanbul", "Marmara", "34###"}, {"Ankara", "İç Anadolu", "06###"}, {"İzmir", "Ege", "35###"}},
		services:   []string{"aras", "yurtici"}, banks: []string{"garanti", "isbank"}, providers: []string{"iyzico", "troy"},
	},
	{
		locales: []string{"uk", "uk-UA", "en"}, currency: "UAH", scale: 41, phone: "+38050000####",
		firstNames: []string{"Oksana", "Taras", "Юлія", "Андрій", "Solomiia"},
		lastNames:  []string{"Shevchuk", "Bondar", "Коваль", "Melnyk"},
		streets:    []string{"vulytsia Khreshchatyk", "prospekt Svobody", "вулиця Шевченка"},
		cities:     []city{{"Kyiv", "Kyiv", "010##"}, {"Lviv", "Lviv Oblast", "790##"}, {"Odesa", "Odesa Oblast", "650##"}},
		services:   []string{"novaposhta", "ukrposhta"}, banks: []string{"privat", "mono"}, providers: []string{"liqpay", "wayforpay"},
	},
	{
		locales: []string{"sv", "sv-SE", "en"}, currency: "SEK", scale: 11, phone: "+4670000####",
		firstNames: []string{"Åsa", "Nils", "Elsa", "Göran", "Freja"},
		lastNames:  []string{"Lindström", "Åkesson", "Berg", "Sjöberg"},
		streets:    []string{"Storgatan", "Kungsgatan", "Björkvägen"},
		cities:     []city{{"Stockholm", "Stockholms län", "111 ##"}, {"Göteborg", "Västra Götaland", "411 ##"}, {"Malmö", "Skåne", "211 ##"}},
		services:   []string{"postnord", "budbee"}, banks: []string{"swedbank", "nordea"}, providers: []string{"swish", "klarna"},
	},
}

// A shelf is a kind of goods. Prices are in cents.
type shelf struct {
	products   []string
	brands     []string
	sizes      []string
	low, spans int64
}

var shelves = []shelf{
	{[]string{"Mascaras", "Lipstick", "Eyeliner", "Foundation", "Nail polish"}, []string{"Vivienne Sabo", "Maybelline", "L'Oréal", "Essence", "Catrice"}, []string{"0"}, 199, 2400},
	{[]string{"T-shirt", "Hoodie", "Polo shirt", "Sweatshirt", "Tank top"}, []string{"Uniqlo", "H&M", "Levi's", "Nike", "Befree"}, []string{"XS", "S", "M", "L", "XL", "XXL"}, 490, 5500},
	{[]string{"Sneakers", "Running shoes", "Boots", "Sandals", "Loafers"}, []string{"Adidas", "New Balance", "Ecco", "Puma", "Dr. Martens"}, []string{"36", "37", "38", "39", "40", "41", "42", "43", "44", "45"}, 1990, 16000},
	{[]string{"Jeans", "Chinos", "Leggings", "Shorts", "Skirt"}, []string{"Levi's", "Wrangler", "Zara", "Mango", "O'STIN"}, []string{"28/32", "30/32", "32/32", "32/34", "34/34"}, 990, 8900},
	{[]string{"Bed linen", "Pillow 50x70", "Blanket", "Bath towel", "Curtains"}, []string{"IKEA", "Togas", "Cozy Home", "Zara Home"}, []string{"140x200", "160x200", "200x220"}, 790, 9900},
	{[]string{"Wireless headphones", "USB-C cable 2 m", "Power bank 10000 mAh", "Phone case", "Smart watch"}, []string{"Xiaomi", "Anker", "Samsung", "Sony", "Baseus"}, []string{"0"}, 590, 29000},
	{[]string{"Building blocks", "Puzzle, 1000 pieces", "Plush bear", "Board game", "Toy train"}, []string{"LEGO", "Ravensburger", "Hasbro", "BRIO"}, []string{"0"}, 690, 12000},
	{[]string{"Novel, hardcover", "Cookbook", "Picture book", "Dictionary", "Travel guide"}, []string{"Penguin", "Eksmo", "Taschen", "Lonely Planet"}, []string{"0"}, 450, 4900},
	{[]string{"Coffee beans 1 kg", "Green tea, 100 bags", "Dark chocolate", "Olive oil 0.5 l", "Protein bars"}, []string{"Lavazza", "Ahmad Tea", "Lindt", "Monini"}, []string{"0"}, 250, 3500},
	{[]string{"Yoga mat", "Dumbbells 2 x 5 kg", "Water bottle", "Backpack 25 l", "Sleeping bag"}, []string{"Decathlon", "Nike", "Deuter", "Reebok"}, []string{"0"}, 790, 14000},
	{[]string{"Frying pan", "Kettle 1.7 l", "Knife set", "Storage jars", "Coffee grinder"}, []string{"Tefal", "Bosch", "Zwilling", "Fiskars"}, []string{"20", "24", "28"}, 990, 15000},
	{[]string{"Dry cat food", "Dog leash", "Aquarium filter", "Scratching post"}, []string{"Whiskas", "Flexi", "Tetra", "Trixie"}, []string{"0"}, 390, 6900},
}

var entries = []string{"WBIL", "WBIL", "WBIL", "WBRU", "WBEU", "WBKZ"}

// statuses of an item; most have been accepted.
var statuses = []int64{202, 202, 202, 202, 200, 203, 204}
