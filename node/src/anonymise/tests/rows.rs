//! Single texts: what is found in them, exactly.

use crate::anonymise::{Anonymiser, Kind, Rules};

/// Each text with its items in double brackets, like `write to [[a@b.org]]`; what stands elsewhere must stay.
fn check(kind: Kind, rows: &[&str]) {
    let anonymiser = Anonymiser::new(&Rules::default(), None).unwrap();
    for row in rows {
        let text = row.replace("[[", "").replace("]]", "");
        let cleaned = anonymiser.clean(&text);
        let mut marked = String::new();
        let mut at = 0;
        for one in &cleaned.findings {
            assert_eq!(one.kind, kind, "{row}: {:?}", &text[one.span.clone()]);
            marked += &format!("{}[[{}]]", &text[at..one.span.start], &text[one.span.clone()]);
            at = one.span.end;
        }
        assert_eq!(marked + &text[at..], *row);
    }
}

#[test]
fn mail() {
    check(
        Kind::Email,
        &[
            "Write to [[jane.doe@example.net]].",
            "<[[o'brien+list@mail.example.co.uk]]>, mailto:[[x@y.io]]?subject=hi",
            "[[müller@bücher.de]] and [[info@xn--bcher-kva.de]]",
            "[[jane [at] example [dot] com]], [[jane(at)example.com]]",
            "a@b, @someone, x@localhost, icon@2x.png, react@18.2.0-rc.next, git@host.org:team/repo.git",
            "total = a @ b; @property",
        ],
    );
}

#[test]
fn telephones() {
    check(
        Kind::Phone,
        &[
            "Tel. [[+49 (0)30 1234-5678]], Fax [[030/1234567]]",
            "([[(212) 555-0147]]) or [[212-555-0147]] or [[1-800-555-0199]]",
            "[[+442079460958]]; [[020 7946 0958]]; [[07700 900123]]",
            "appelez le [[01 23 45 67 89]] ou [[06.12.34.56.78]]",
            "[[+1-624-329-2226 ext. 177]] 12 people",
            "my number is [[5551234567]]",
            "ISBN 0-306-40615-2, 12.05.2023, 2023-05-12 10:15:30, 1990-1995, 3.14159265358979",
            "Call in 2024, or on 12.05.2023.",
            "1 000 000 000 and 12,500,000 and 612 345 678 people",
            "order 5551234567",
        ],
    );
}

#[test]
fn hosts() {
    check(
        Kind::Ip,
        &[
            "from [[93.184.216.34]]:443, [[10.1.2.3]]/24, [[192.168.0.1]].",
            "[[2001:db8:85a3::8a2e:370:7334]] and [[fe80::1ff:fe23:4567:890a]]%eth0",
            "127.0.0.1, 0.0.0.0, 255.255.255.0, ::1",
            "version 1.2.3.4, v1.2.3.4, section 3.2.1.4, 1.2.3.4-rc.1, 1.2.3.4.5, 300.1.1.1",
            "std::fmt::Display at 10:30:45, a::b, 00:1a:2b:3c:4d:5e",
        ],
    );
}

#[test]
fn accounts() {
    check(
        Kind::Iban,
        &[
            "to [[DE89 3704 0044 0532 0130 00]] today",
            "[[GB82WEST12345698765432]], [[FR14 2004 1010 0505 0001 3M02 606]]",
            "DE89 3704 0044 0532 0130 01 has a wrong check",
        ],
    );
    check(
        Kind::Card,
        &[
            "[[4111 1111 1111 1111]], [[3782-822463-10005]], [[5555555555554444]]",
            "4111 1111 1111 1112 and 9111111111111111 and ISBN 978-0-306-40615-7",
        ],
    );
}

#[test]
fn states() {
    check(
        Kind::National,
        &[
            "SSN [[536-90-4399]], not 000-12-3456, 666-12-3456 or 536-00-4399",
            "[[AB 12 34 56 C]], [[AB123456C]], not GB123456A",
            "Steuer-ID [[86 095 742 719]], not 86 095 742 718",
            "[[2 55 08 14 168 025 38]] est son numéro",
            "DNI [[12345678Z]], [[12.345.678-Z]], NIE [[X-1234567-L]], not 12345678A",
            "[[RSSMRA85T10A562S]] e non RSSMRA85T10A562T",
            "[[756.9217.0769.85]], [[85.07.30-033.28]], [[529.982.247-25]], [[131052-308T]], [[811218-9876]]",
            "BSN [[111222333]], but 111222333 alone is a number",
        ],
    );
}

#[test]
fn secrets() {
    check(
        Kind::Secret,
        &[
            "[[AKIAIOSFODNN7EXAMPLE]]",
            "token [[ghp_16C7e42F292c6912E7710c838347Ae178B4a]] was leaked",
            "api_key = \"[[9f8e7d6c5b4a39281706f5e4d3c2b1a0]]\"",
            "Authorization: Bearer [[mF_9.B5f-4.1JqMz8kQ27]]",
            "password: [[hunter2!Xy]]",
            "-----BEGIN PUBLIC KEY-----",
            "[[-----BEGIN RSA PRIVATE KEY-----\nMIIEow==\n-----END RSA PRIVATE KEY-----]]\n",
            "[[-----BEGIN PRIVATE KEY-----\nMIIEow\nab]]. No end",
            "password: required, token = get_token(request), secret = None, api_key = os.environ[\"API_KEY\"]",
            "the bearer of extraordinarily bad news; the key: understanding",
            "commit 9f8e7d6c5b4a39281706f5e4d3c2b1a0deadbeef",
        ],
    );
    check(
        Kind::Credentials,
        &[
            "https://[[jane:s3cr3t]]@example.net/x?page=2",
            "https://example.net/cb?code=[[SplxlOBeZQQYbYS6WxSbIA]]&state=1",
            "GET /feed?api_key=[[abcdef123456]] HTTP/1.1",
            "https://example.net/a?page=2&sort=asc is it? Yes",
        ],
    );
}

#[test]
fn addresses() {
    check(
        Kind::Address,
        &[
            "at [[221B Baker Street, London NW1 6XE]]. He",
            "[[1600 Pennsylvania Avenue NW]] is white",
            "Ship to [[742 Evergreen Terrace, Springfield, IL 62704]] please",
            "[[Hauptstraße 12a, 10115 Berlin]]\nund [[Lange Gasse 5]] dort",
            "au [[12 bis, rue de la République, 75011 Paris]]",
            "en [[Calle Mayor 12, 3º B, 28013 Madrid]]",
            "In 1929 Wall Street fell. The road was 12 miles long.",
            "Die Straße war leer. 3 drove on the wrong side.",
        ],
    );
}

#[test]
fn names() {
    check(
        Kind::Name,
        &[
            "Yesterday [[Elizabeth Bennet]] met Mr. [[Darcy]] at the ball.",
            "[[Jean-Luc van den Berg]] and [[J. R. Smith]]'s dog",
            "Best regards,\n[[Xzibit Qwertz]]\n",
            "Patient: [[Obi Nwosu]]",
            "Frau [[Müller-Lüdenscheidt]] kam.",
            "Elizabeth said that May was warm. Will you come?",
            "The Washington Post, Lake Victoria, George Washington University, New York",
            "On Monday Morning Chapter One began.",
        ],
    );
}

#[test]
fn what_was_cleaned_is_clean() {
    let anonymiser = Anonymiser::new(&Rules::default(), None).unwrap();
    let text = "Call Mr. John Smith on +49 30 1234567, 12 High Street, London SW1A 2AA, or a@b.org with key AKIAIOSFODNN7EXAMPLE.";
    let cleaned = anonymiser.clean(text);
    assert_eq!(
        cleaned.text,
        "Call Mr. <NAME> on <PHONE>, <ADDRESS>, or <EMAIL> with key <SECRET>."
    );
    let again = anonymiser.clean(&cleaned.text);
    assert_eq!((again.counts.total(), &again.text), (0, &cleaned.text));
}
