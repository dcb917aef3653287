//! English names of the time zones that most people live in, as Java has them.

/// Names in winter, in summer and all year.
type Seasons = [&'static str; 3];

/// Zones, with their long and their short names.
#[rustfmt::skip]
pub(super) const WRITTEN: &[(&str, Seasons, Seasons)] = &[
    ("America/Los_Angeles America/Ensenada America/Tijuana America/Vancouver Canada/Pacific \
      Mexico/BajaNorte PST8PDT US/Pacific",
     ["Pacific Standard Time", "Pacific Daylight Time", "Pacific Time"], ["PST", "PDT", "PT"]),
    ("America/Denver America/Boise America/Cambridge_Bay America/Ciudad_Juarez America/Creston \
      America/Dawson America/Dawson_Creek America/Edmonton America/Fort_Nelson America/Inuvik \
      America/Phoenix America/Shiprock America/Whitehorse America/Yellowknife Canada/Mountain Canada/Yukon \
      MST7MDT Navajo US/Arizona US/Mountain",
     ["Mountain Standard Time", "Mountain Daylight Time", "Mountain Time"], ["MST", "MDT", "MT"]),
    ("America/Chicago America/Bahia_Banderas America/Belize America/Chihuahua America/Costa_Rica \
      America/El_Salvador America/Guatemala America/Indiana/Knox America/Indiana/Tell_City America/Knox_IN \
      America/Managua America/Matamoros America/Menominee America/Merida America/Mexico_City \
      America/Monterrey America/North_Dakota/Beulah America/North_Dakota/Center \
      America/North_Dakota/New_Salem America/Ojinaga America/Rainy_River America/Rankin_Inlet \
      America/Regina America/Resolute America/Swift_Current America/Tegucigalpa America/Winnipeg CST6CDT \
      Canada/Central Canada/Saskatchewan Mexico/General US/Central US/Indiana-Starke",
     ["Central Standard Time", "Central Daylight Time", "Central Time"], ["CST", "CDT", "CT"]),
    ("America/New_York America/Atikokan America/Cancun America/Cayman America/Coral_Harbour \
      America/Detroit America/Fort_Wayne America/Grand_Turk America/Indiana/Indianapolis \
      America/Indiana/Marengo America/Indiana/Petersburg America/Indiana/Vevay America/Indiana/Vincennes \
      America/Indiana/Winamac America/Indianapolis America/Iqaluit America/Jamaica \
      America/Kentucky/Louisville America/Kentucky/Monticello America/Louisville America/Montreal \
      America/Nassau America/Nipigon America/Panama America/Pangnirtung America/Port-au-Prince \
      America/Thunder_Bay America/Toronto Canada/Eastern EST5EDT Jamaica US/East-Indiana US/Eastern \
      US/Michigan",
     ["Eastern Standard Time", "Eastern Daylight Time", "Eastern Time"], ["EST", "EDT", "ET"]),
    ("Pacific/Honolulu US/Hawaii",
     ["Hawaii-Aleutian Standard Time", "Hawaii-Aleutian Daylight Time", "Hawaii-Aleutian Time"], ["HST", "HDT", "HST"]),
    ("America/Anchorage America/Juneau America/Metlakatla America/Nome America/Sitka America/Yakutat \
      US/Alaska",
     ["Alaska Standard Time", "Alaska Daylight Time", "Alaska Time"], ["AKST", "AKDT", "AKT"]),
    ("America/Halifax America/Anguilla America/Antigua America/Aruba America/Barbados America/Blanc-Sablon \
      America/Curacao America/Dominica America/Glace_Bay America/Goose_Bay America/Grenada \
      America/Guadeloupe America/Kralendijk America/Lower_Princes America/Marigot America/Martinique \
      America/Moncton America/Montserrat America/Port_of_Spain America/Puerto_Rico America/Santo_Domingo \
      America/St_Barthelemy America/St_Kitts America/St_Lucia America/St_Thomas America/St_Vincent \
      America/Thule America/Tortola America/Virgin Atlantic/Bermuda Canada/Atlantic",
     ["Atlantic Standard Time", "Atlantic Daylight Time", "Atlantic Time"], ["AST", "ADT", "AT"]),
    ("America/St_Johns Canada/Newfoundland",
     ["Newfoundland Standard Time", "Newfoundland Daylight Time", "Newfoundland Time"], ["NST", "NDT", "NT"]),
    ("Europe/Paris Africa/Algiers Africa/Ceuta Africa/Tunis Arctic/Longyearbyen Atlantic/Jan_Mayen \
      Europe/Amsterdam Europe/Andorra Europe/Belgrade Europe/Berlin Europe/Bratislava Europe/Brussels \
      Europe/Budapest Europe/Busingen Europe/Copenhagen Europe/Gibraltar Europe/Ljubljana \
      Europe/Luxembourg Europe/Madrid Europe/Malta Europe/Monaco Europe/Oslo Europe/Podgorica \
      Europe/Prague Europe/Rome Europe/San_Marino Europe/Sarajevo Europe/Skopje Europe/Stockholm \
      Europe/Tirane Europe/Vaduz Europe/Vatican Europe/Vienna Europe/Warsaw Europe/Zagreb Europe/Zurich \
      Poland",
     ["Central European Standard Time", "Central European Summer Time", "Central European Time"], ["CET", "CEST", "CET"]),
    ("GMT Africa/Abidjan Africa/Bamako Africa/Banjul Africa/Bissau Africa/Conakry Africa/Dakar \
      Africa/Freetown Africa/Lome Africa/Monrovia Africa/Nouakchott Africa/Ouagadougou Africa/Sao_Tome \
      Africa/Timbuktu America/Danmarkshavn Atlantic/Reykjavik Atlantic/St_Helena Etc/GMT Etc/Greenwich \
      Greenwich Iceland",
     ["Greenwich Mean Time", "Greenwich Mean Time", "Greenwich Mean Time"], ["GMT", "GMT", "GMT"]),
    ("Asia/Jerusalem Asia/Tel_Aviv Israel",
     ["Israel Standard Time", "Israel Daylight Time", "Israel Time"], ["IST", "IDT", "IT"]),
    ("Asia/Tokyo Japan",
     ["Japan Standard Time", "Japan Daylight Time", "Japan Time"], ["JST", "JDT", "JT"]),
    ("Europe/Bucharest Africa/Cairo Africa/Tripoli Asia/Amman Asia/Beirut Asia/Damascus Asia/Gaza \
      Asia/Hebron Asia/Nicosia Egypt Europe/Athens Europe/Chisinau Europe/Helsinki Europe/Kaliningrad \
      Europe/Kiev Europe/Kyiv Europe/Mariehamn Europe/Nicosia Europe/Riga Europe/Sofia Europe/Tallinn \
      Europe/Tiraspol Europe/Uzhgorod Europe/Vilnius Europe/Zaporozhye Libya",
     ["Eastern European Standard Time", "Eastern European Summer Time", "Eastern European Time"], ["EET", "EEST", "EET"]),
    ("Asia/Shanghai Asia/Chongqing Asia/Chungking Asia/Harbin Asia/Macao Asia/Macau PRC",
     ["China Standard Time", "China Daylight Time", "China Time"], ["CST", "CDT", "CT"]),
    ("UTC Etc/UCT Etc/UTC Etc/Universal Etc/Zulu UCT Universal Zulu",
     ["Coordinated Universal Time", "Coordinated Universal Time", "Coordinated Universal Time"], ["UTC", "UTC", "UTC"]),
    ("Asia/Riyadh Asia/Aden Asia/Baghdad Asia/Bahrain Asia/Kuwait Asia/Qatar",
     ["Arabian Standard Time", "Arabian Daylight Time", "Arabian Time"], ["AST", "ADT", "AT"]),
    ("Asia/Dhaka Asia/Dacca",
     ["Bangladesh Standard Time", "Bangladesh Summer Time", "Bangladesh Time"], ["BDT", "BDST", "BDT"]),
    ("Asia/Dubai Asia/Muscat",
     ["Gulf Standard Time", "Gulf Daylight Time", "Gulf Time"], ["GST", "GDT", "GT"]),
    ("Asia/Seoul Asia/Pyongyang ROK",
     ["Korean Standard Time", "Korean Daylight Time", "Korean Time"], ["KST", "KDT", "KT"]),
    ("Africa/Maputo Africa/Blantyre Africa/Bujumbura Africa/Gaborone Africa/Harare Africa/Juba \
      Africa/Khartoum Africa/Kigali Africa/Lubumbashi Africa/Lusaka",
     ["Central Africa Time", "Central African Summer Time", "Central Africa Time"], ["CAT", "CAST", "CAT"]),
    ("Asia/Manila",
     ["Philippine Standard Time", "Philippine Summer Time", "Philippine Time"], ["PST", "PDT", "PT"]),
    ("Asia/Bangkok Asia/Ho_Chi_Minh Asia/Phnom_Penh Asia/Saigon Asia/Vientiane",
     ["Indochina Time", "Indochina Summer Time", "Indochina Time"], ["ICT", "ICST", "ICT"]),
    ("Asia/Taipei",
     ["Taipei Standard Time", "Taipei Daylight Time", "Taipei Time"], ["CST", "CDT", "CT"]),
    ("Asia/Tehran Iran",
     ["Iran Standard Time", "Iran Daylight Time", "Iran Time"], ["IRST", "IRDT", "IRT"]),
    ("Africa/Lagos Africa/Bangui Africa/Brazzaville Africa/Douala Africa/Kinshasa Africa/Libreville \
      Africa/Luanda Africa/Malabo Africa/Ndjamena Africa/Niamey Africa/Porto-Novo",
     ["West Africa Standard Time", "West Africa Summer Time", "West Africa Time"], ["WAT", "WAST", "WAT"]),
    ("America/Lima",
     ["Peru Standard Time", "Peru Summer Time", "Peru Time"], ["PET", "PEST", "PET"]),
    ("Asia/Kolkata Asia/Calcutta Asia/Colombo",
     ["India Standard Time", "India Daylight Time", "India Time"], ["IST", "IDT", "IT"]),
    ("Asia/Jakarta Asia/Pontianak",
     ["Western Indonesia Time", "West Indonesia Summer Time", "West Indonesia Time"], ["WIB", "WIST", "WIB"]),
    ("Asia/Karachi",
     ["Pakistan Standard Time", "Pakistan Summer Time", "Pakistan Time"], ["PKT", "PKST", "PKT"]),
    ("Asia/Kuala_Lumpur Asia/Kuching",
     ["Malaysia Time", "Malaysia Summer Time", "Malaysia Time"], ["MYT", "MYST", "MYT"]),
    ("Europe/Moscow Europe/Minsk Europe/Simferopol W-SU",
     ["Moscow Standard Time", "Moscow Summer Time", "Moscow Time"], ["MSK", "MSD", "MT"]),
    ("Africa/Nairobi Africa/Addis_Ababa Africa/Asmara Africa/Asmera Africa/Dar_es_Salaam Africa/Djibouti \
      Africa/Kampala Africa/Mogadishu Indian/Antananarivo Indian/Comoro Indian/Mayotte",
     ["East Africa Time", "Eastern African Summer Time", "Eastern Africa Time"], ["EAT", "EAST", "EAT"]),
    ("Africa/Johannesburg Africa/Maseru Africa/Mbabane",
     ["South Africa Standard Time", "South Africa Summer Time", "South Africa Time"], ["SAST", "SAST", "SAT"]),
    ("America/Sao_Paulo America/Araguaina America/Bahia America/Belem America/Fortaleza America/Maceio \
      America/Recife America/Santarem Brazil/East",
     ["Brasilia Standard Time", "Brasilia Summer Time", "Brasilia Time"], ["BRT", "BRST", "BRT"]),
    ("America/Argentina/Buenos_Aires America/Argentina/Catamarca America/Argentina/ComodRivadavia \
      America/Argentina/Cordoba America/Argentina/Jujuy America/Argentina/La_Rioja \
      America/Argentina/Mendoza America/Argentina/Rio_Gallegos America/Argentina/Salta \
      America/Argentina/San_Juan America/Argentina/San_Luis America/Argentina/Tucuman \
      America/Argentina/Ushuaia America/Buenos_Aires America/Catamarca America/Cordoba America/Jujuy \
      America/Mendoza America/Rosario",
     ["Argentina Standard Time", "Argentina Summer Time", "Argentina Time"], ["ART", "ARST", "ART"]),
    ("Asia/Kathmandu Asia/Katmandu",
     ["Nepal Time", "Nepal Summer Time", "Nepal Time"], ["NPT", "NPST", "NPT"]),
    ("Asia/Tashkent Asia/Samarkand",
     ["Uzbekistan Standard Time", "Uzbekistan Summer Time", "Uzbekistan Time"], ["UZT", "UZST", "UZT"]),
    ("Europe/Dublin Eire",
     ["Greenwich Mean Time", "Irish Standard Time", "Irish Time"], ["GMT", "IST", "IT"]),
    ("Europe/London Europe/Belfast Europe/Guernsey Europe/Isle_of_Man Europe/Jersey GB GB-Eire",
     ["Greenwich Mean Time", "British Summer Time", "British Time"], ["GMT", "BST", "BT"]),
    ("Europe/Lisbon Atlantic/Canary Atlantic/Faeroe Atlantic/Faroe Atlantic/Madeira Portugal",
     ["Western European Standard Time", "Western European Summer Time", "Western European Time"], ["WET", "WEST", "WET"]),
    ("America/Bogota",
     ["Colombia Standard Time", "Colombia Summer Time", "Colombia Time"], ["COT", "COST", "COT"]),
    ("America/La_Paz",
     ["Bolivia Time", "Bolivia Summer Time", "Bolivia Time"], ["BOT", "BOST", "BOT"]),
    ("Asia/Hong_Kong Hongkong",
     ["Hong Kong Standard Time", "Hong Kong Summer Time", "Hong Kong Time"], ["HKT", "HKST", "HKT"]),
    ("Asia/Singapore Singapore",
     ["Singapore Standard Time", "Singapore Summer Time", "Singapore Time"], ["SGT", "SGST", "SGT"]),
    ("America/Caracas",
     ["Venezuela Time", "Venezuela Summer Time", "Venezuela Time"], ["VET", "VEST", "VET"]),
    ("Australia/Perth Australia/West",
     ["Australian Western Standard Time", "Australian Western Daylight Time", "Western Australia Time"], ["AWST", "AWDT", "AWT"]),
    ("America/Santiago Chile/Continental",
     ["Chile Standard Time", "Chile Summer Time", "Chile Time"], ["CLT", "CLST", "CLT"]),
    ("Australia/Sydney Antarctica/Macquarie Australia/ACT Australia/Brisbane Australia/Canberra \
      Australia/Currie Australia/Hobart Australia/Lindeman Australia/Melbourne Australia/NSW \
      Australia/Queensland Australia/Tasmania Australia/Victoria",
     ["Australian Eastern Standard Time", "Australian Eastern Daylight Time", "Eastern Australia Time"], ["AEST", "AEDT", "AET"]),
    ("Australia/Adelaide Australia/Broken_Hill Australia/Darwin Australia/North Australia/South \
      Australia/Yancowinna",
     ["Australian Central Standard Time", "Australian Central Daylight Time", "Central Australia Time"], ["ACST", "ACDT", "ACT"]),
    ("Pacific/Auckland Antarctica/McMurdo Antarctica/South_Pole NZ",
     ["New Zealand Standard Time", "New Zealand Daylight Time", "New Zealand Time"], ["NZST", "NZDT", "NZT"]),
    ("America/Montevideo",
     ["Uruguay Standard Time", "Uruguay Summer Time", "Uruguay Time"], ["UYT", "UYST", "UYT"]),
    ("Europe/Istanbul Asia/Istanbul Turkey",
     ["Turkey Time", "Turkey Summer Time", "Turkey Time"], ["TRT", "TRST", "TRT"]),
    ("WET Africa/Casablanca Africa/El_Aaiun",
     ["Western European Time", "Western European Summer Time", "Western European Time"], ["WET", "WEST", "WET"]),
];

/// Which zone a text means that names one: the zone, its short names, its long names, with a bar between.
#[rustfmt::skip]
pub(super) const READ: &[(&str, &str, &str)] = &[
    ("Africa/Abidjan", "IST|IT", "British Summer Time|British Time|Greenwich Mean Time|Irish Standard Time|Irish Time"),
    ("Africa/Johannesburg", "SAST|SAT", "South Africa Standard Time|South Africa Summer Time|South Africa Time"),
    ("Africa/Lagos", "WAST|WAT", "West Africa Standard Time|West Africa Summer Time|West Africa Time"),
    ("Africa/Maputo", "CAST|CAT", "Central Africa Time|Central African Summer Time"),
    ("Africa/Nairobi", "EAT", "East Africa Time|Eastern Africa Time|Eastern African Summer Time"),
    ("America/Argentina/Buenos_Aires", "ARST|ART", "Argentina Standard Time|Argentina Summer Time|Argentina Time"),
    ("America/Bogota", "COST|COT", "Colombia Standard Time|Colombia Summer Time|Colombia Time"),
    ("America/Caracas", "VEST|VET", "Venezuela Summer Time|Venezuela Time"),
    ("America/Chicago", "CDT|CST|CT", "Central Daylight Time|Central Standard Time|Central Time"),
    ("America/Denver", "MDT|MST", "Mountain Daylight Time|Mountain Standard Time|Mountain Time"),
    ("America/Halifax", "ADT|AST|AT", "Atlantic Daylight Time|Atlantic Standard Time|Atlantic Time"),
    ("America/Juneau", "AKDT|AKST|AKT", "Alaska Daylight Time|Alaska Standard Time|Alaska Time"),
    ("America/La_Paz", "BOST|BOT", "Bolivia Summer Time|Bolivia Time"),
    ("America/Lima", "PEST|PET", "Peru Standard Time|Peru Summer Time|Peru Time"),
    ("America/Los_Angeles", "PDT|PST|PT", "Pacific Daylight Time|Pacific Standard Time|Pacific Time"),
    ("America/Montevideo", "UYST|UYT", "Uruguay Standard Time|Uruguay Summer Time|Uruguay Time"),
    ("America/New_York", "EDT|EST|ET", "Eastern Daylight Time|Eastern Standard Time|Eastern Time"),
    ("America/Rio_Branco", "ACST|ACT", ""),
    ("America/Santiago", "", "Chile Standard Time"),
    ("America/Sao_Paulo", "BRST|BRT", "Brasilia Standard Time|Brasilia Summer Time|Brasilia Time"),
    ("America/St_Johns", "NDT|NST|NT", "Newfoundland Daylight Time|Newfoundland Standard Time|Newfoundland Time"),
    ("Antarctica/Palmer", "CLST|CLT", "Chile Summer Time|Chile Time"),
    ("Asia/Bangkok", "ICST|ICT", "Indochina Summer Time|Indochina Time"),
    ("Asia/Dhaka", "BDST|BDT", "Bangladesh Standard Time|Bangladesh Summer Time|Bangladesh Time"),
    ("Asia/Dubai", "", "Gulf Daylight Time|Gulf Standard Time|Gulf Time"),
    ("Asia/Hong_Kong", "HKST|HKT", "Hong Kong Standard Time|Hong Kong Summer Time|Hong Kong Time"),
    ("Asia/Jakarta", "WIB|WIST", "West Indonesia Summer Time|West Indonesia Time|Western Indonesia Time"),
    ("Asia/Jayapura", "WIT", ""),
    ("Asia/Jerusalem", "", "Israel Daylight Time|Israel Standard Time|Israel Time"),
    ("Asia/Makassar", "WITA", ""),
    ("Asia/Karachi", "PKST|PKT", "Pakistan Standard Time|Pakistan Summer Time|Pakistan Time"),
    ("Asia/Kathmandu", "NPST|NPT", "Nepal Summer Time|Nepal Time"),
    ("Asia/Kolkata", "IDT", "India Daylight Time|India Standard Time|India Time"),
    ("Asia/Kuching", "MYST|MYT", "Malaysia Summer Time|Malaysia Time"),
    ("Asia/Manila", "", "Philippine Standard Time|Philippine Summer Time|Philippine Time"),
    ("Asia/Riyadh", "", "Arabian Daylight Time|Arabian Standard Time|Arabian Time"),
    ("Asia/Seoul", "KDT|KST|KT", "Korean Daylight Time|Korean Standard Time|Korean Time"),
    ("Asia/Shanghai", "", "China Daylight Time|China Standard Time|China Time"),
    ("Asia/Singapore", "SGST|SGT", "Singapore Standard Time|Singapore Summer Time|Singapore Time"),
    ("Asia/Taipei", "", "Taipei Daylight Time|Taipei Standard Time|Taipei Time"),
    ("Asia/Tashkent", "UZST|UZT", "Uzbekistan Standard Time|Uzbekistan Summer Time|Uzbekistan Time"),
    ("Asia/Tehran", "IRDT|IRST|IRT", "Iran Daylight Time|Iran Standard Time|Iran Time"),
    ("Asia/Tokyo", "JDT|JST|JT", "Japan Daylight Time|Japan Standard Time|Japan Time"),
    ("Atlantic/Canary", "WEST|WET", "Western European Standard Time|Western European Summer Time|Western European Time"),
    ("Atlantic/South_Georgia", "GDT|GST|GT", ""),
    ("Australia/Adelaide", "ACDT", "Australian Central Daylight Time|Australian Central Standard Time|Central Australia Time"),
    ("Australia/Perth", "AWDT|AWST|AWT", "Australian Western Daylight Time|Australian Western Standard Time|Western Australia Time"),
    ("Australia/Sydney", "AEDT|AEST|AET", "Australian Eastern Daylight Time|Australian Eastern Standard Time|Eastern Australia Time"),
    ("Etc/UTC", "", "Coordinated Universal Time"),
    ("Europe/Bucharest", "EEST|EET", "Eastern European Standard Time|Eastern European Summer Time|Eastern European Time"),
    ("Europe/Istanbul", "TRST|TRT", "Turkey Summer Time|Turkey Time"),
    ("Europe/Moscow", "MSD|MSK|MT", "Moscow Standard Time|Moscow Summer Time|Moscow Time"),
    ("Europe/Paris", "CEST|CET", "Central European Standard Time|Central European Summer Time|Central European Time"),
    ("GMT", "GMT", ""),
    ("Pacific/Auckland", "NZDT|NZST|NZT", "New Zealand Daylight Time|New Zealand Standard Time|New Zealand Time"),
    ("Pacific/Bougainville", "BST|BT", ""),
    ("Pacific/Easter", "EAST", ""),
    ("Pacific/Honolulu", "HDT|HST", "Hawaii-Aleutian Daylight Time|Hawaii-Aleutian Standard Time|Hawaii-Aleutian Time"),
    ("UTC", "UTC", ""),
];
