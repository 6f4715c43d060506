//! What the benchmark reads: records of a few log types, made of a number.

pub fn trail(n: usize) -> String {
    let user = format!("user-{}", n % 97);
    let (source, name) = [("ec2", "DescribeInstances"), ("s3", "GetObject"), ("iam", "ListRoles")][n % 3];
    let identity = format!(
        r#"{{"type":"AssumedRole","principalId":"AROAEXAMPLEID{n:06}:{user}","arn":"arn:aws:sts::111122223333:assumed-role/Engineer/{user}","accountId":"111122223333","accessKeyId":"ASIAEXAMPLE{n:08}","sessionContext":{{"sessionIssuer":{{"type":"Role","principalId":"AROAEXAMPLEISSUER","arn":"arn:aws:iam::111122223333:role/Engineer","accountId":"111122223333","userName":"Engineer"}},"attributes":{{"creationDate":"2026-01-15T08:00:00Z","mfaAuthenticated":"true"}}}}}}"#
    );
    let parameters = format!(
        r#"{{"bucketName":"acme-data-{}","key":"reports/2026/01/15/part-{n:08}.parquet","Host":"acme-data.s3.us-east-1.amazonaws.com","filterSet":{{"items":[{{"name":"instance-state-name","valueSet":{{"items":[{{"value":"running"}}]}}}},{{"name":"vpc-id","valueSet":{{"items":[{{"value":"vpc-0a1b2c3d"}}]}}}}]}}}}"#,
        n % 31
    );
    format!(
        r#"{{"eventVersion":"1.08","userIdentity":{identity},"eventTime":"2026-01-15T{:02}:{:02}:{:02}Z","eventSource":"{source}.amazonaws.com","eventName":"{name}","awsRegion":"us-east-1","sourceIPAddress":"198.51.100.{}","userAgent":"aws-cli/2.15.0 Python/3.11.6 Linux/5.10 exe/x86_64.amzn.2 prompt/off command/x.y","requestParameters":{parameters},"responseElements":null,"requestID":"{:032x}","eventID":"{n:08x}-0000-4000-8000-{n:012x}","readOnly":true,"resources":[{{"accountId":"111122223333","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::acme-data"}}],"eventType":"AwsApiCall","managementEvent":false,"recipientAccountId":"111122223333","eventCategory":"Data","tlsDetails":{{"tlsVersion":"TLSv1.2","cipherSuite":"ECDHE-RSA-AES128-GCM-SHA256"}}}}"#,
        n / 3600 % 24,
        n / 60 % 60,
        n % 60,
        n % 254 + 1,
        n as u128 * 0x9e37_79b9_7f4a_7c15,
    )
}

/// As `trail`, of Okta.
pub fn okta(n: usize) -> String {
    let (hour, minute, second) = (n / 3600 % 24, n / 60 % 60, n % 60);
    let actor = format!(
        r#"{{"id":"00u1abcd{n:06}","type":"User","alternateId":"user-{}@example.com","displayName":"User {}","detailEntry":null}}"#,
        n % 97,
        n % 97
    );
    let place = r#"{"city":"Utrecht","state":"Utrecht","country":"Netherlands","postalCode":"3511","geolocation":{"lat":52.0907,"lon":5.1214}}"#;
    let client = format!(
        r#"{{"userAgent":{{"rawUserAgent":"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0","os":"Linux","browser":"FIREFOX"}},"zone":"null","device":"Computer","id":null,"ipAddress":"198.51.100.{}","geographicalContext":{place}}}"#,
        n % 254 + 1
    );
    let target = format!(
        r#"[{{"id":"0oa1{n:06}","type":"AppInstance","alternateId":"Example App","displayName":"Example \"App\"","detailEntry":{{"signOnModeType":"SAML_2_0"}}}}]"#
    );
    format!(
        r#"{{"uuid":"{n:08x}-0000-11ef-8000-{n:012x}","published":"2026-01-15T{hour:02}:{minute:02}:{second:02}.{:03}Z","eventType":"user.session.start","version":"0","severity":"INFO","legacyEventType":"core.user_auth.login_success","displayMessage":"User login to Okta","actor":{actor},"client":{client},"device":null,"authenticationContext":{{"authenticationProvider":null,"credentialProvider":null,"credentialType":null,"issuer":null,"interface":null,"authenticationStep":0,"externalSessionId":"102{n:012x}"}},"outcome":{{"result":"SUCCESS","reason":null}},"securityContext":{{"asNumber":64500,"asOrg":"example networks","isp":"example networks","domain":"example.net","isProxy":false}},"debugContext":{{"debugData":{{"requestId":"Z{n:012x}","requestUri":"/idp/idx/identify","dtHash":"{n:064x}","threatSuspected":"false","url":"/idp/idx/identify?"}}}},"transaction":{{"type":"WEB","id":"Z{n:012x}","detail":{{}}}},"request":{{"ipChain":[{{"ip":"198.51.100.{}","geographicalContext":{place},"version":"V4","source":null}}]}},"target":{target}}}"#,
        n % 1000,
        n % 254 + 1
    )
}

/// As `trail`, of GuardDuty.
pub fn finding(n: usize) -> String {
    let instance = format!(
        r#"{{"instanceId":"i-{n:017x}","instanceType":"m3.xlarge","launchTime":"2026-01-02T02:05:06Z","platform":null,"productCodes":[],"iamInstanceProfile":{{"arn":"arn:aws:iam::111122223333:instance-profile/worker","id":"AIPAEXAMPLE{n:06}"}},"networkInterfaces":[{{"ipv6Addresses":[],"networkInterfaceId":"eni-{n:08x}","privateDnsName":"ip-10-0-{}-{}.ec2.internal","privateIpAddress":"10.0.{}.{}","subnetId":"subnet-0a1b2c3d","vpcId":"vpc-0a1b2c3d","securityGroups":[{{"groupName":"workers","groupId":"sg-0a1b2c3d"}}],"publicIp":"198.51.100.{}"}}],"tags":[{{"key":"team","value":"red"}},{{"key":"stage","value":"live"}}],"instanceState":"running","availabilityZone":"us-east-1a","imageId":"ami-0a1b2c3d"}}"#,
        n % 200,
        n % 254,
        n % 200,
        n % 254,
        n % 254 + 1
    );
    let action = format!(
        r#"{{"actionType":"NETWORK_CONNECTION","networkConnectionAction":{{"connectionDirection":"INBOUND","remoteIpDetails":{{"ipAddressV4":"203.0.113.{}","organization":{{"asn":"64500","asnOrg":"example","isp":"example","org":"example"}},"country":{{"countryName":"Netherlands"}},"city":{{"cityName":"Utrecht"}},"geoLocation":{{"lat":52.0907,"lon":5.1214}}}},"remotePortDetails":{{"port":{},"portName":"Unknown"}},"localPortDetails":{{"port":22,"portName":"SSH"}},"protocol":"TCP","blocked":false}}}}"#,
        n % 254 + 1,
        20000 + n % 40000
    );
    format!(
        r#"{{"schemaVersion":"2.0","accountId":"111122223333","region":"us-east-1","partition":"aws","id":"{n:032x}","arn":"arn:aws:guardduty:us-east-1:111122223333:detector/12abc34d567e8fa901bc2d34eexample/finding/{n:032x}","type":"UnauthorizedAccess:EC2/SSHBruteForce","resource":{{"resourceType":"Instance","instanceDetails":{instance}}},"service":{{"serviceName":"guardduty","detectorId":"12abc34d567e8fa901bc2d34eexample","action":{action},"resourceRole":"TARGET","additionalInfo":{{"sample":true}},"eventFirstSeen":"2026-01-15T{:02}:{:02}:{:02}Z","eventLastSeen":"2026-01-15T23:59:59Z","archived":false,"count":{}}},"severity":2,"createdAt":"2026-01-15T23:59:59.021Z","updatedAt":"2026-01-15T23:59:59.021Z","title":"203.0.113.1 is performing SSH brute force attacks against i-{n:017x}.","description":"203.0.113.1 is performing SSH brute force attacks against i-{n:017x}. Brute force attacks are used to gain unauthorized access to your instance by guessing the SSH password."}}"#,
        n / 3600 % 24,
        n / 60 % 60,
        n % 60,
        n % 100 + 1
    )
}

pub const FLOW_HEADER: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";
pub const FLOW_NAMES: &str =
    "version account eni src dst srcport dstport protocol packets bytes start end action status";
pub const FLOW_FIELDS: &str = "
- {name: version, type: int}
- {name: account, type: string, indicators: [aws_account_id]}
- {name: eni, type: string}
- {name: src, type: string, indicators: [ip]}
- {name: dst, type: string, indicators: [ip]}
- {name: srcport, type: int}
- {name: dstport, type: int}
- {name: protocol, type: int}
- {name: packets, type: bigint}
- {name: bytes, type: bigint}
- {name: start, type: timestamp, timeFormat: unix, isEventTime: true}
- {name: end, type: timestamp, timeFormat: unix}
- {name: action, type: string}
- {name: status, type: string}
";

pub fn flow_line(n: usize) -> String {
    let (start, end) = (1_768_467_600 + n, 1_768_467_660 + n);
    format!(
        "2 123456789010 eni-1235b8ca123456789 172.31.{}.{} 172.31.16.21 {} 22 6 20 {} {start} {end} ACCEPT OK",
        n % 200,
        n % 254 + 1,
        20000 + n % 40000,
        4249 + n
    )
}

pub const ALB_FASTMATCH: &str = r#"
version: 0
parser:
  fastmatch:
    match: ['%{type} %{timestamp} %{elb} %{client} %{target} %{rp} %{tp} %{sp} %{status} %{tstatus} %{received} %{sent} "%{request}" "%{agent}" %{cipher} %{protocol} %{arn} "%{trace}" "%{domain}" "%{cert}" %{priority} %{created} "%{actions}" %{}']
    emptyValues: ['-']
fields:
- {name: type, type: string}
- {name: timestamp, type: timestamp, timeFormat: rfc3339, isEventTime: true}
- {name: elb, type: string}
- {name: client, type: string, indicators: [net_addr]}
- {name: target, type: string, indicators: [net_addr]}
- {name: rp, type: float}
- {name: tp, type: float}
- {name: sp, type: float}
- {name: status, type: int}
- {name: tstatus, type: int}
- {name: received, type: bigint}
- {name: sent, type: bigint}
- {name: request, type: string}
- {name: agent, type: string}
- {name: cipher, type: string}
- {name: protocol, type: string}
- {name: arn, type: string, indicators: [aws_arn]}
- {name: trace, type: string, indicators: [trace_id]}
- {name: domain, type: string, indicators: [domain]}
- {name: cert, type: string, indicators: [aws_arn]}
- {name: priority, type: int}
- {name: created, type: timestamp, timeFormat: rfc3339}
- {name: actions, type: string}
"#;

pub fn alb(n: usize) -> String {
    format!(
        r#"https 2026-01-15T{:02}:{:02}:{:02}.186641Z app/my-loadbalancer/50dc6c495c0c9188 192.168.131.{}:2817 10.0.0.1:80 0.086 0.048 0.037 200 200 {} 57 "GET https://www.example.com:443/path/{n}?q=1 HTTP/1.1" "curl/7.46.0" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/my-targets/73e2d6bc24d8a067 "Root=1-58337281-1d84f3d73c47ec4e58577259" "www.example.com" "arn:aws:acm:us-east-2:123456789012:certificate/12345678-1234-1234-1234-123456789012" 1 2026-01-15T22:22:48.364000Z "authenticate,forward" "-" "-" "10.0.0.1:80" "200" "-" "-""#,
        n / 3600 % 24,
        n / 60 % 60,
        n % 60,
        n % 254 + 1,
        n % 5000
    )
}
